locals {
  addresses = toset(flatten([for team in var.teams : concat(team.rotation, [team.manager])]))
}

data "pagerduty_user" "member" {
  for_each = local.addresses
  email    = each.value
}

resource "pagerduty_team" "team" {
  for_each    = var.teams
  name        = each.value.name
  description = "Answers alerts with team=${each.key}"
}
