/*
 * SRTP and SRTCP of a sender (RFC 3711, RFC 7714): keys from a master key, packets protected in place. Of OpenSSL's
 * libcrypto, so that a fault of the library that callvault uses cannot hide.
 */
#ifndef SRTP_H
#define SRTP_H
#include <stddef.h>
#include <stdint.h>

enum { SRTP_ADDED_MAX = 16 + 4, SRTP_MASTER_MAX = 32 + 14 }; /* a tag, and the index of SRTCP; a key and its salt */

typedef struct Srtp Srtp;

/* NULL where it is no suite of ours, or a key of another length. `master` is the key, then its salt. */
Srtp *srtp_new(const char *suite, const uint8_t *master, size_t length);

/* Protect what is at `packet`: a header of `header` octets, its extension included, within `length`. The new length. */
size_t srtp_protect(Srtp *keys, uint8_t *packet, size_t header, size_t length, uint32_t rollovers);

/* The same for a compound of RTCP, whose index is counted here. */
size_t srtcp_protect(Srtp *keys, uint8_t *packet, size_t length);

#endif
