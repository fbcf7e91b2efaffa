# One service for each team. Alertmanager groups alerts; PagerDuty must not group again, or two faults become one.
resource "pagerduty_service" "broker" {
  for_each                = var.teams
  name                    = "broker (${each.key})"
  description             = "Pages of the broker and its sidecar for ${each.value.name}"
  escalation_policy       = pagerduty_escalation_policy.team[each.key].id
  alert_creation          = "create_alerts_and_incidents"
  acknowledgement_timeout = "1800"
  # Alertmanager resolves incidents. This time-out ends an incident whose resolve was lost.
  auto_resolve_timeout = "86400"

  incident_urgency_rule {
    type    = "constant"
    urgency = "high"
  }
}

resource "pagerduty_service_integration" "alertmanager" {
  for_each = var.teams
  name     = "Alertmanager"
  service  = pagerduty_service.broker[each.key].id
  type     = "events_api_v2_inbound_integration"
}

# Pages when the whole alerting path is silent: the relay of the dead man's switch sends here, from outside the cluster.
resource "pagerduty_service" "dead_mans_switch" {
  name                    = "broker (alerting path)"
  description             = "The Watchdog is no longer heard: Prometheus, Alertmanager or the way out is down"
  escalation_policy       = pagerduty_escalation_policy.team["platform"].id
  alert_creation          = "create_alerts_and_incidents"
  acknowledgement_timeout = "1800"
  auto_resolve_timeout    = "86400"

  incident_urgency_rule {
    type    = "constant"
    urgency = "high"
  }
}

resource "pagerduty_service_integration" "dead_mans_switch" {
  name    = "Dead man's switch"
  service = pagerduty_service.dead_mans_switch.id
  type    = "events_api_v2_inbound_integration"
}
