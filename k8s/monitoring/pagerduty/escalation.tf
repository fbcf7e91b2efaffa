# Alertmanager has no acknowledgement, so PagerDuty escalates: this file names the next person and the delay.
resource "pagerduty_escalation_policy" "team" {
  for_each  = var.teams
  name      = "${each.value.name}: broker"
  num_loops = 2
  teams     = [pagerduty_team.team[each.key].id]

  rule {
    escalation_delay_in_minutes = 5
    target {
      type = "schedule_reference"
      id   = pagerduty_schedule.primary[each.key].id
    }
  }

  rule {
    escalation_delay_in_minutes = 10
    target {
      type = "schedule_reference"
      id   = pagerduty_schedule.secondary[each.key].id
    }
  }

  rule {
    escalation_delay_in_minutes = 15
    target {
      type = "user_reference"
      id   = data.pagerduty_user.member[each.value.manager].id
    }
  }
}
