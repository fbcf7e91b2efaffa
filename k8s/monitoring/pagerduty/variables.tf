variable "teams" {
  description = "Teams by the label `team` of the alerts: who answers, in the order of their weeks, and who is asked next."
  type = map(object({
    name      = string
    time_zone = string
    rotation  = list(string) # e-mail addresses; one week each
    manager   = string       # e-mail address
  }))
  validation {
    condition     = alltrue([for team in var.teams : length(team.rotation) >= 2])
    error_message = "A rotation of one has nobody to hand over to: name two people or more for each team."
  }
}

variable "rotation_start" {
  description = "When the first turn begins, RFC 3339. A hand-over is at this hour each week: choose working hours."
  type        = string
  default     = "2026-01-05T10:00:00Z"
}
