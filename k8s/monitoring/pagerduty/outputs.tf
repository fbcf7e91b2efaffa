output "routing_keys" {
  description = "By team; Alertmanager reads each from the file pagerduty-<team> of its secret."
  sensitive   = true
  value       = { for team, integration in pagerduty_service_integration.alertmanager : team => integration.integration_key }
}

output "dead_mans_switch_routing_key" {
  description = "For the relay outside the cluster."
  sensitive   = true
  value       = pagerduty_service_integration.dead_mans_switch.integration_key
}
