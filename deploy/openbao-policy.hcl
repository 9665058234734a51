# What callvault's token may do at OpenBao: make, use, look at and delete keys of one transit mount, and nothing that
# reads a key out (export, backup) or gives it versions (rotate). The mount itself, once, by its administrator:
#   bao secrets enable transit
#   bao write transit/config/keys disable_upsert=true
#   bao policy write callvault openbao-policy.hcl
path "transit/keys/+" {
  capabilities = ["create", "read", "update", "delete"]
}
path "transit/keys/+/config" {
  capabilities = ["create", "update"]
  allowed_parameters = { "deletion_allowed" = [] }
}
path "transit/encrypt/+" {
  capabilities = ["update"]
}
path "transit/decrypt/+" {
  capabilities = ["update"]
}
path "transit/config/keys" {
  capabilities = ["read"]
}
