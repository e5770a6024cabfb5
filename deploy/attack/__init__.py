"""The privacy audit: attacks on a site's private training whose success bounds its epsilon from below."""
