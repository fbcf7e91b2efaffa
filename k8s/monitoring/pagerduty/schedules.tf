# The secondary is last week's primary, who knows the open faults.
resource "pagerduty_schedule" "primary" {
  for_each  = var.teams
  name      = "${each.value.name}: primary"
  time_zone = each.value.time_zone
  teams     = [pagerduty_team.team[each.key].id]

  layer {
    name                         = "weeks"
    start                        = var.rotation_start
    rotation_virtual_start       = var.rotation_start
    rotation_turn_length_seconds = 604800
    users                        = [for email in each.value.rotation : data.pagerduty_user.member[email].id]
  }
}

resource "pagerduty_schedule" "secondary" {
  for_each  = var.teams
  name      = "${each.value.name}: secondary"
  time_zone = each.value.time_zone
  teams     = [pagerduty_team.team[each.key].id]

  layer {
    name                         = "weeks"
    start                        = var.rotation_start
    rotation_virtual_start       = var.rotation_start
    rotation_turn_length_seconds = 604800
    users = [
      for email in concat([reverse(each.value.rotation)[0]], slice(each.value.rotation, 0, length(each.value.rotation) - 1)) :
      data.pagerduty_user.member[email].id
    ]
  }
}
