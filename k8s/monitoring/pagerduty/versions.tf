terraform {
  required_version = ">= 1.5"
  required_providers {
    pagerduty = {
      source  = "PagerDuty/pagerduty"
      version = "~> 3.15"
    }
  }
}

# The provider reads its token from PAGERDUTY_TOKEN.
provider "pagerduty" {}
