package vpn

// SiteGroup is the group (RADIUS's Class) of a user who is the site of an S2S interface.
const SiteGroup = "S2S"
