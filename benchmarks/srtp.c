#include "srtp.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { IV = 16, AUTH_KEY = 20, SHA1 = 20, GCM_TAG = 16, RTCP_TAG = 10, RTCP_HEADER = 8 };

typedef struct {
    const char *name;
    size_t key, salt, tag; /* octets; `tag` is that of RTP */
    int gcm;
} Suite;

static const Suite suites[] = {
    {"AES_CM_128_HMAC_SHA1_80", 16, 14, 10, 0},
    {"AES_CM_128_HMAC_SHA1_32", 16, 14, 4, 0},
    {"AEAD_AES_128_GCM", 16, 12, 16, 1},
    {"AEAD_AES_256_GCM", 32, 12, 16, 1},
};

typedef struct {
    EVP_CIPHER_CTX *cipher;
    EVP_MAC_CTX *mac;
    uint8_t salt[IV];
} Keys;

struct Srtp {
    const Suite *suite;
    Keys rtp, rtcp;
    uint32_t reports;
};

static void must(int done) {
    if (done != 1) abort(); /* libcrypto is out of memory, or not what it was built with */
}

static void put32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void xor32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] ^= (uint8_t)(value >> (24 - 8 * i));
}

/* RFC 3711 section 4.3.1, with a derivation rate of zero; RFC 7714 section 11 for its ciphers. */
static void derive(const Suite *suite, const uint8_t *master, uint8_t label, uint8_t *out, size_t length) {
    uint8_t iv[IV] = {0}, zeros[64] = {0};
    int done;
    memcpy(iv, master + suite->key, suite->salt);
    iv[7] ^= label;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    must(cipher != NULL);
    must(EVP_EncryptInit_ex(cipher, suite->key == 32 ? EVP_aes_256_ctr() : EVP_aes_128_ctr(), NULL, master, iv));
    must(EVP_EncryptUpdate(cipher, out, &done, zeros, (int)length));
    EVP_CIPHER_CTX_free(cipher);
}

static Keys derived(const Suite *suite, const uint8_t *master, uint8_t label) {
    Keys keys = {.cipher = EVP_CIPHER_CTX_new()};
    uint8_t key[32], auth[AUTH_KEY];
    must(keys.cipher != NULL);
    derive(suite, master, label, key, suite->key);
    derive(suite, master, (uint8_t)(label + 1), auth, sizeof auth);
    derive(suite, master, (uint8_t)(label + 2), keys.salt, suite->salt);
    const EVP_CIPHER *cipher = !suite->gcm         ? EVP_aes_128_ctr()
                               : suite->key == 32  ? EVP_aes_256_gcm()
                                                   : EVP_aes_128_gcm();
    must(EVP_EncryptInit_ex(keys.cipher, cipher, NULL, key, NULL));
    if (!suite->gcm) {
        EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        OSSL_PARAM named[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA1", 0), OSSL_PARAM_END};
        must(hmac != NULL);
        must((keys.mac = EVP_MAC_CTX_new(hmac)) != NULL);
        must(EVP_MAC_init(keys.mac, auth, sizeof auth, named));
        EVP_MAC_free(hmac);
    }
    return keys;
}

Srtp *srtp_new(const char *name, const uint8_t *master, size_t length) {
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        const Suite *suite = &suites[i];
        if (strcmp(name, suite->name) || length != suite->key + suite->salt) continue;
        Srtp *made = calloc(1, sizeof *made);
        must(made != NULL);
        made->suite = suite;
        made->rtp = derived(suite, master, 0);
        made->rtcp = derived(suite, master, 3);
        return made;
    }
    return NULL;
}

/* Counter mode from where RFC 3711 section 4.1.1 says; `index` has 48 bits. */
static void encrypt(const Keys *keys, uint32_t ssrc, uint64_t index, uint8_t *data, size_t length) {
    uint8_t iv[IV];
    int done;
    memcpy(iv, keys->salt, IV);
    xor32(iv + 4, ssrc);
    xor32(iv + 8, (uint32_t)(index >> 16));
    iv[12] ^= (uint8_t)(index >> 8), iv[13] ^= (uint8_t)index;
    must(EVP_EncryptInit_ex(keys->cipher, NULL, NULL, NULL, iv));
    must(EVP_EncryptUpdate(keys->cipher, data, &done, data, (int)length));
}

static void authenticate(const Keys *keys, const uint8_t *data, size_t length, uint8_t *tag, size_t tag_length) {
    uint8_t whole[SHA1];
    size_t done;
    must(EVP_MAC_init(keys->mac, NULL, 0, NULL));
    must(EVP_MAC_update(keys->mac, data, length));
    must(EVP_MAC_final(keys->mac, whole, &done, sizeof whole));
    memcpy(tag, whole, tag_length);
}

/* RFC 7714 sections 8 and 9: what is authenticated only, in two parts; the tag comes behind the data. */
static void seal(const Keys *keys, uint8_t iv[12], const uint8_t *first, size_t first_length, const uint8_t *second,
                 size_t second_length, uint8_t *data, size_t length) {
    int done;
    for (int i = 0; i < 12; i++) iv[i] ^= keys->salt[i];
    must(EVP_EncryptInit_ex(keys->cipher, NULL, NULL, NULL, iv));
    must(EVP_EncryptUpdate(keys->cipher, NULL, &done, first, (int)first_length));
    if (second_length) must(EVP_EncryptUpdate(keys->cipher, NULL, &done, second, (int)second_length));
    must(EVP_EncryptUpdate(keys->cipher, data, &done, data, (int)length));
    must(EVP_EncryptFinal_ex(keys->cipher, data + length, &done));
    must(EVP_CIPHER_CTX_ctrl(keys->cipher, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, data + length));
}

static uint32_t ssrc_at(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

size_t srtp_protect(Srtp *keys, uint8_t *packet, size_t header, size_t length, uint32_t rollovers) {
    if (keys->suite->gcm) {
        uint8_t iv[12] = {0};
        memcpy(iv + 2, packet + 8, 4);
        put32(iv + 6, rollovers);
        memcpy(iv + 10, packet + 2, 2);
        seal(&keys->rtp, iv, packet, header, NULL, 0, packet + header, length - header);
        return length + GCM_TAG;
    }
    uint64_t index = (uint64_t)rollovers << 16 | (uint64_t)packet[2] << 8 | packet[3];
    encrypt(&keys->rtp, ssrc_at(packet + 8), index, packet + header, length - header);
    put32(packet + length, rollovers); /* authenticated behind the packet, and not sent */
    uint8_t tag[SHA1];
    authenticate(&keys->rtp, packet, length + 4, tag, keys->suite->tag);
    memcpy(packet + length, tag, keys->suite->tag);
    return length + keys->suite->tag;
}

size_t srtcp_protect(Srtp *keys, uint8_t *packet, size_t length) {
    uint32_t index = keys->reports++;
    uint8_t said[4];
    put32(said, index | 0x80000000); /* that it is encrypted, and the index */
    if (keys->suite->gcm) {
        uint8_t iv[12] = {0};
        memcpy(iv + 2, packet + 4, 4);
        put32(iv + 8, index);
        seal(&keys->rtcp, iv, packet, RTCP_HEADER, said, sizeof said, packet + RTCP_HEADER, length - RTCP_HEADER);
        memcpy(packet + length + GCM_TAG, said, sizeof said);
        return length + GCM_TAG + sizeof said;
    }
    encrypt(&keys->rtcp, ssrc_at(packet + 4), index, packet + RTCP_HEADER, length - RTCP_HEADER);
    memcpy(packet + length, said, sizeof said);
    authenticate(&keys->rtcp, packet, length + sizeof said, packet + length + sizeof said, RTCP_TAG);
    return length + sizeof said + RTCP_TAG;
}
