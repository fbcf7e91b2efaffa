terraform {
  required_version = ">= 1.5"
  required_providers {
    pagerduty = {
      source  = "PagerDuty/pagerduty"
      version = "~> 3.15"
    }
  }
}

# The token is the environment's PAGERDUTY_TOKEN.
provider "pagerduty" {}
