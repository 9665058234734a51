/*
 * Sends RTP or SRTP as many calls do: one bound socket for each leg, a packet every 20 ms, a sender report every 5 s
 * (RFC 3550 sections 5.1, 6.4.1, 6.5.1).
 *
 *     generator SPEECH < PLAN > REPORT
 *
 * SPEECH is a file of frames that all legs send in a circle, each behind its length (two octets, big-endian); where
 * packets have a header extension, a frame begins with it. PLAN has a line for each leg, on one line:
 *
 *     socket source-address source-port destination-address destination-port destination-rtcp-port
 *     ssrc payload-type first-packet-ns packets first-frame ticks extension suite key
 *
 * `socket` is a descriptor that was inherited, whose source it then is, or -1. Reports go from the port above the
 * source's, or, where they go to the same port as RTP, from the same. A packet is `ticks` later than the one before in
 * RTP's clock; `extension` are the octets of the header extension; `suite` and `key` (hexadecimal: key, then salt) are
 * SRTP's, or a dash each.
 *
 * Instants are CLOCK_MONOTONIC. REPORT is one JSON object: what was scheduled, what was sent and when, and the
 * processor time that it took. A packet belongs at a fixed instant; one that is late is sent nevertheless, and counted.
 * The end comes DRAIN_NS after the last packet's instant, or on SIGTERM, whatever is left.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef ENCRYPTED
#include "srtp.h"
#else
enum { SRTP_ADDED_MAX = 0, SRTP_MASTER_MAX = 0 };
#endif

enum {
    LEGS_MAX = 16384,           /* 8,000 two-track calls: beyond what one machine receives */
    HEADER = 12,
    FRAME_MAX = 1200,           /* with its header extension */
    PACKET_MAX = HEADER + FRAME_MAX + SRTP_ADDED_MAX,
    FRAMES_MAX = 1 << 16,
    BURST_MAX = 16,             /* packets of one leg in one sendmmsg, when the schedule is behind */
    REPORT_PACKETS = 250,       /* a sender report for so many packets: every 5 s */
    CONTROL_MAX = 64 + SRTP_ADDED_MAX,
    NICENESS = -15,             /* where it may not be real-time: the callers are not on the machine that is measured,
                                   nor should they wait for it */
    BUCKETS = 20000,            /* lateness histogram, 10 us each: up to 200 ms */
    BUCKET_NS = 10000,
    SUITE_MAX = 32,
};
static const int64_t PERIOD_NS = 20000000;
static const int64_t ON_TIME_NS = 5000000;      /* later than this, a packet did not keep its schedule */
static const int64_t GRAIN_NS = 500000;         /* packets due within it are sent together: one wake-up for all */
static const int64_t DRAIN_NS = 2000000000;

typedef struct {
    int rtp, rtcp, inherited;
    uint32_t ssrc;
    uint8_t payload_type;
    int64_t first_ns;
    uint32_t packets, done, sent, reports, frame, ticks;
    uint32_t octets;            /* of payload sent, for the reports */
    size_t extension;
    struct sockaddr_in to, control;
#ifdef ENCRYPTED
    Srtp *keys;
#endif
} Leg;

typedef struct {
    size_t length;
    uint8_t data[FRAME_MAX];
} Frame;

typedef struct {
    int64_t due;
    uint32_t leg;
} Entry;

static Leg legs[LEGS_MAX];
static Entry heap[LEGS_MAX];
static uint32_t leg_count, heap_count;
static Frame *frames;
static uint32_t frame_count;
static uint32_t lateness[BUCKETS];
static uint64_t scheduled, sent, on_time, refused, unsent, reports_sent;
static int64_t latest_ns, first_sent_ns, last_sent_ns;
static volatile sig_atomic_t stopped;

static void fail(const char *what) {
    fprintf(stderr, "generator: %s: %s\n", what, errno ? strerror(errno) : "not valid");
    exit(2);
}

static void on_signal(int number) {
    (void)number;
    stopped = 1;
}

static int64_t clock_ns(clockid_t id) {
    struct timespec at;
    clock_gettime(id, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void sleep_until(int64_t at) {
    struct timespec t = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); /* a signal ends it early, which is meant */
}

/* A binary heap of legs by the instant of their next packet. */
static void sink(uint32_t at, Entry entry) {
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap_count) break;
        if (child + 1 < heap_count && heap[child + 1].due < heap[child].due) child++;
        if (entry.due <= heap[child].due) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = entry;
}

static void make_heap(void) {
    for (uint32_t i = 0; i < leg_count; i++)
        if (legs[i].packets) heap[heap_count++] = (Entry){legs[i].first_ns, i};
    for (uint32_t i = heap_count / 2; i-- > 0;) sink(i, heap[i]);
}

static struct sockaddr_in address_of(const char *host, int port) {
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &made.sin_addr) != 1) fail("address");
    return made;
}

static int open_socket(const char *host, int port, const struct sockaddr_in *to) {
    struct sockaddr_in local = address_of(host, port);
    struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0); /* what the other end sends is not read */
    struct sock_fprog filter = {1, &none};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter)) fail("socket");
    if (bind(fd, (struct sockaddr *)&local, sizeof local)) fail("bind");
    if (connect(fd, (const struct sockaddr *)to, sizeof *to)) fail("connect");
    return fd;
}

#ifdef ENCRYPTED
static Srtp *keys_of(const char *suite, const char *digits) {
    uint8_t master[SRTP_MASTER_MAX];
    size_t length = strlen(digits) / 2;
    if (!strcmp(suite, "-")) return NULL;
    if (length > sizeof master) fail("plan");
    for (size_t i = 0; i < length; i++)
        if (sscanf(digits + 2 * i, "%2hhx", &master[i]) != 1) fail("plan");
    Srtp *made = srtp_new(suite, master, length);
    if (!made) fail("plan");
    return made;
}
#endif

static void read_plan(void) {
    char host[64], to_host[64], suite[SUITE_MAX], digits[2 * 64];
    int inherited, port, to_port, to_control, type;
    uint32_t ssrc, packets, frame, ticks, extension;
    int64_t first;
    for (;;) {
        int found = scanf("%d %63s %d %63s %d %d %" SCNu32 " %d %" SCNd64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
                          " %31s %127s", &inherited, host, &port, to_host, &to_port, &to_control, &ssrc, &type, &first,
                          &packets, &frame, &ticks, &extension, suite, digits);
        if (found == EOF) return;
        errno = 0;
        if (found != 15 || leg_count == LEGS_MAX || type < 0 || type > 127 || extension > FRAME_MAX) fail("plan");
        Leg *leg = &legs[leg_count++];
        *leg = (Leg){.ssrc = ssrc, .payload_type = (uint8_t)type, .first_ns = first, .packets = packets};
        leg->frame = frame % frame_count, leg->ticks = ticks, leg->extension = extension;
        leg->to = address_of(to_host, to_port), leg->control = address_of(to_host, to_control);
#ifdef ENCRYPTED
        leg->keys = keys_of(suite, digits);
#else
        if (strcmp(suite, "-")) fail("plan");
#endif
        leg->inherited = inherited >= 0;
        leg->rtp = inherited >= 0 ? inherited : open_socket(host, port, &leg->to);
        leg->rtcp = to_control == to_port ? leg->rtp : open_socket(host, port + 1, &leg->control);
        scheduled += packets;
    }
}

static void read_speech(const char *path) {
    uint8_t length[2];
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    frames = malloc(FRAMES_MAX * sizeof *frames);
    if (!frames) fail("memory");
    while (fread(length, 1, sizeof length, file) == sizeof length) {
        size_t octets = (size_t)length[0] << 8 | length[1];
        if (octets > FRAME_MAX || frame_count == FRAMES_MAX) fail("speech");
        frames[frame_count].length = octets;
        if (fread(frames[frame_count++].data, 1, octets, file) != octets) fail("speech");
    }
    fclose(file);
    if (!frame_count) fail("speech");
}

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

/* The random start values that RFC 3550 asks for, made from the SSRC so that a run can be repeated. */
static uint32_t first_timestamp(const Leg *leg) { return leg->ssrc * 2654435761u; }
static uint32_t first_sequence(const Leg *leg) { return (leg->ssrc * 40503u) >> 16; }

static void write_header(const Leg *leg, uint32_t number, uint8_t *at) {
    at[0] = leg->extension ? 0x90 : 0x80;
    at[1] = (uint8_t)(leg->payload_type | (number == 0 ? 0x80 : 0));
    put16(at + 2, (first_sequence(leg) + number) & 0xffff);
    put32(at + 4, first_timestamp(leg) + number * leg->ticks);
    put32(at + 8, leg->ssrc);
}

/* A sender report and the canonical name, which every compound packet must have. */
static void send_report(Leg *leg) {
    uint8_t out[CONTROL_MAX] = {0};
    int64_t now = clock_ns(CLOCK_REALTIME);
    char name[24];
    int length = snprintf(name, sizeof name, "%08" PRIx32 "@generator", leg->ssrc);
    int words = (4 + 2 + length + 1 + 3) / 4; /* SSRC, item head, name, its end, to a whole word */
    out[0] = 0x80, out[1] = 200;
    put16(out + 2, 6);
    put32(out + 4, leg->ssrc);
    put32(out + 8, (uint32_t)(now / 1000000000 + 2208988800));
    put32(out + 12, (uint32_t)(((uint64_t)(now % 1000000000) << 32) / 1000000000));
    put32(out + 16, first_timestamp(leg) + leg->done * leg->ticks);
    put32(out + 20, leg->sent);
    put32(out + 24, leg->octets);
    out[28] = 0x81, out[29] = 202;
    put16(out + 30, (uint32_t)words);
    put32(out + 32, leg->ssrc);
    out[36] = 1, out[37] = (uint8_t)length;
    memcpy(out + 38, name, (size_t)length);
    size_t size = 32 + 4 * (size_t)words;
#ifdef ENCRYPTED
    if (leg->keys) size = srtcp_protect(leg->keys, out, size);
#endif
    if (sendto(leg->rtcp, out, size, 0, (struct sockaddr *)&leg->control, sizeof leg->control) > 0)
        leg->reports++, reports_sent++;
}

/* Builds a packet as it goes out; its length. */
static size_t build(const Leg *leg, uint32_t number, uint8_t *out) {
    const Frame *frame = &frames[(leg->frame + number) % frame_count];
    size_t length = HEADER + frame->length;
    write_header(leg, number, out);
    memcpy(out + HEADER, frame->data, frame->length);
#ifdef ENCRYPTED
    if (leg->keys) {
        uint32_t rollovers = (first_sequence(leg) + number) >> 16;
        return srtp_protect(leg->keys, out, HEADER + leg->extension, length, rollovers);
    }
#endif
    return length;
}

/* Sends `count` packets of a leg. What the kernel does not take is not tried again: it would only come later. */
static void send_packets(Leg *leg, uint32_t count) {
    static uint8_t packets[BURST_MAX][PACKET_MAX];
    static struct iovec parts[BURST_MAX];
    static struct mmsghdr messages[BURST_MAX];
    for (uint32_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){packets[i], build(leg, leg->done + i, packets[i])};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        if (leg->inherited) /* and not connected */
            messages[i].msg_hdr.msg_name = &leg->to, messages[i].msg_hdr.msg_namelen = sizeof leg->to;
    }
    int taken = sendmmsg(leg->rtp, messages, count, 0);
    if (taken < 0 && errno == ECONNREFUSED) { /* an earlier packet met a closed port; this one was not tried */
        refused++;
        taken = sendmmsg(leg->rtp, messages, count, 0);
    }
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < count; i++) {
        if ((int)i >= taken) {
            unsent++;
            continue;
        }
        int64_t late = now - (leg->first_ns + (int64_t)(leg->done + i) * PERIOD_NS);
        int64_t bucket = late < 0 ? 0 : late / BUCKET_NS;
        lateness[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
        if (late <= ON_TIME_NS) on_time++;
        if (late > latest_ns) latest_ns = late;
        leg->sent++, sent++;
        leg->octets += (uint32_t)(frames[(leg->frame + leg->done + i) % frame_count].length - leg->extension);
    }
    if (!first_sent_ns) first_sent_ns = now;
    last_sent_ns = now;
    leg->done += count;
}

static void run(void) {
    int64_t end = 0;
    for (uint32_t i = 0; i < leg_count; i++) {
        int64_t last = legs[i].first_ns + (int64_t)legs[i].packets * PERIOD_NS;
        if (last > end) end = last;
    }
    while (heap_count && !stopped) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now > end + DRAIN_NS) break;
        if (heap[0].due > now) {
            sleep_until(heap[0].due + GRAIN_NS);
            continue;
        }
        uint32_t number = heap[0].leg;
        Leg *leg = &legs[number];
        int64_t due = (now - leg->first_ns) / PERIOD_NS + 1 - leg->done;
        uint32_t left = leg->packets - leg->done;
        uint32_t count = due < 1 ? 1 : due > BURST_MAX ? BURST_MAX : (uint32_t)due;
        if (count > left) count = left;
        send_packets(leg, count);
        if (leg->done / REPORT_PACKETS != (leg->done - count) / REPORT_PACKETS) send_report(leg);
        if (leg->done < leg->packets)
            sink(0, (Entry){leg->first_ns + (int64_t)leg->done * PERIOD_NS, number});
        else if (--heap_count)
            sink(0, heap[heap_count]);
    }
}

static int64_t late_ns(double share) {
    uint64_t wanted = (uint64_t)(share * (double)sent), seen = 0;
    for (int64_t i = 0; i < BUCKETS; i++) {
        seen += lateness[i];
        if (seen && seen >= wanted) return (i + 1) * BUCKET_NS;
    }
    return latest_ns;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static void print_report(const struct rusage *before) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"legs\": %" PRIu32 ", \"scheduled\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"on_time\": %" PRIu64, leg_count,
           scheduled, sent, on_time);
    printf(", \"refused\": %" PRIu64 ", \"unsent\": %" PRIu64 ", \"reports\": %" PRIu64, refused, unsent, reports_sent);
    printf(", \"late_ms_p50\": %.3f, \"late_ms_p99\": %.3f, \"late_ms_max\": %.3f", late_ns(0.5) / 1e6,
           late_ns(0.99) / 1e6, (double)latest_ns / 1e6);
    printf(", \"user_s\": %.6f, \"sys_s\": %.6f", seconds(used.ru_utime) - seconds(before->ru_utime),
           seconds(used.ru_stime) - seconds(before->ru_stime));
    printf(", \"first_sent_ns\": %" PRId64 ", \"last_sent_ns\": %" PRId64 ", \"sent_by_leg\": [", first_sent_ns,
           last_sent_ns);
    for (uint32_t i = 0; i < leg_count; i++) printf(i ? ", %" PRIu32 : "%" PRIu32, legs[i].sent);
    printf("]}\n");
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: generator SPEECH < PLAN > REPORT\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no generator outlives its benchmark */
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct sched_param real_time = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &real_time) && setpriority(PRIO_PROCESS, 0, NICENESS))
        errno = 0; /* without the right to either, the schedule may suffer */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    read_speech(arguments[1]);
    read_plan();
    make_heap();
    struct rusage before;
    getrusage(RUSAGE_SELF, &before);
    run();
    print_report(&before);
    return 0;
}
