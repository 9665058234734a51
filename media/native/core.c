/* The loops of a media worker's tick that cost the most: one call for a pass over all sockets, one for a batch of cells.
 *
 * Plain C behind a plain ABI, called through ctypes with the GIL held: nothing here blocks, allocates or keeps a pointer.
 * Every array is the caller's, who vouches for its length. The Python twins of these loops stand beside their callers
 * (media/receive.py, media/listen.py, media/vad.py) and do the same; tests run over both.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* Raised with every change of a function's meaning: a library of another number is not used. */
enum { ABI = 4 };

int callvault_abi(void) { return ABI; }

/* Takes up to `burst` datagrams from each of `sockets` descriptors into the headers from `headers` on, one after the
 * other, until `slots` are used; the last burst may go beyond, the arena has room for it. `counts` gets how many each
 * socket gave. Returns how many sockets were asked. */
int callvault_receive(const int *descriptors, int sockets, struct mmsghdr *headers, int slots, int burst, int32_t *counts)
{
    int used = 0, at = 0, asked;
    for (; at < sockets && used < slots; at++) {
        int count = recvmmsg(descriptors[at], headers + used, (unsigned)burst, MSG_DONTWAIT, NULL);
        counts[at] = count > 0 ? count : 0;
        used += counts[at];
    }
    for (asked = at; at < sockets; at++)
        counts[at] = 0;
    return asked;
}

/* WebRtcVad_Process of the webrtcvad that Python has loaded: 1 voiced, 0 not, -1 for what it cannot hear. */
typedef int (*process_function)(void *handle, int rate_hz, const int16_t *samples, size_t count);

/* Hears one cell of `samples` samples with each of `cells` detectors. */
void callvault_hear(process_function process, void *const *handles, const int16_t *pcm, int cells, int samples,
                    int rate_hz, uint8_t *voiced)
{
    for (int cell = 0; cell < cells; cell++)
        voiced[cell] = process(handles[cell], rate_hz, pcm + (ptrdiff_t)cell * samples, (size_t)samples) == 1;
}

/* What listening needs beside the table: columns of `Detectors` in media/vad.py, and what media/tones.py looks for. */
struct listening {
    process_function process;
    void *const *handles;
    int64_t *history, *hearings;
    uint8_t *speaking;
    int64_t settling, start_mask, start_voiced, hangover_mask;
    int64_t *heard;
    const uint8_t *codec, *masking, *pool;
    const int64_t *masked;
    int64_t region_bytes;
    const int16_t *const *expansions; /* by codec, of 256 octets each */
    const uint8_t *searched;          /* codecs whose tones are looked for */
    const float *coarse;              /* TONES columns of cosines, then of sines, a row for each sample */
    double level_min, coarse_min, weaker_min;
};

enum { CELL = 160, RATE_HZ = 8000, THIN = 2, TONES = 8, LOW_TONES = 4 };
enum { STARTED = 1, ENDED = 2, TONE = 4 };

/* The first look of `find` in media/tones.py: whether a cell may be a key's tone. */
static int may_be_a_tone(const struct listening *with, const int16_t *pcm)
{
    float energy = 0, sums[2 * TONES] = {0}, low = 0, high = 0;
    for (int i = 0; i < CELL; i += THIN)
        energy += (float)pcm[i] * (float)pcm[i];
    if (!(energy > (float)(with->level_min * CELL / THIN)))
        return 0;
    for (int i = 0; i < CELL / THIN; i++) {
        const float *row = with->coarse + i * 2 * TONES, sample = pcm[i * THIN];
        for (int k = 0; k < 2 * TONES; k++)
            sums[k] += row[k] * sample;
    }
    for (int k = 0; k < TONES; k++) {
        float power = sums[k] * sums[k] + sums[TONES + k] * sums[TONES + k];
        float *best = k < LOW_TONES ? &low : &high;
        *best = power > *best ? power : *best;
    }
    return low + high > (float)with->coarse_min * energy && (low < high ? low : high) > (float)with->weaker_min * energy;
}

/* What a cell's voice, or its want of one, decides for the row: STARTED, ENDED or nothing. */
static uint8_t decide(const struct listening *with, int64_t row, const int16_t *pcm)
{
    int voiced = with->process(with->handles[row], RATE_HZ, pcm, CELL) == 1 && with->hearings[row] >= with->settling;
    int64_t history = (with->history[row] << 1 | voiced) & 0xFFFFFFFF;
    with->history[row] = history;
    with->hearings[row]++;
    if (!with->speaking[row] && __builtin_popcountll((uint64_t)(history & with->start_mask)) >= with->start_voiced) {
        with->speaking[row] = 1;
        return STARTED;
    }
    if (with->speaking[row] && !(history & with->hangover_mask)) {
        with->speaking[row] = 0;
        return ENDED;
    }
    return 0;
}

/* Hears the next cell of each of `count` rows, which are distinct and have one: decodes it, tells voices, decides as
 * `Detectors.learn` does. `told` gets what is to be looked at: speech that started or ended, and cells that may be a
 * key's tone, or lie so near one that they are silenced. Returns of how many rows anything is told. Where there is no
 * time for `voices`, only tones are looked for. */
int64_t callvault_listen(const struct listening *with, const int64_t *rows, int64_t count, int voices, uint8_t *told)
{
    int64_t telling = 0;
    int16_t pcm[CELL];
    for (int64_t i = 0; i < count; i++) {
        int64_t row = rows[i];
        const uint8_t *octets = with->pool + row * with->region_bytes + with->heard[row];
        const int16_t *expansion = with->expansions[with->codec[row]];
        for (int k = 0; k < CELL; k++)
            pcm[k] = expansion[octets[k]];
        told[i] = voices ? decide(with, row, pcm) : 0;
        if (with->masking[row] && with->searched[with->codec[row]]
            && (with->masked[row] > 0 || may_be_a_tone(with, pcm)))
            told[i] |= TONE;
        with->heard[row] += CELL;
        telling += told[i] != 0;
    }
    return telling;
}

/* One pass's datagrams, an entry each, those of one row together and in order: columns of `Batch` in media/receive.py. */
struct batch {
    int64_t count;
    const int64_t *rows, *slots, *lengths, *sources, *stamps_ns;
    const uint8_t *octets; /* the one in slot i begins at i * slot_bytes */
    int64_t slot_bytes;
};

/* Columns of `Table` in media/legs.py; `frames` entries or `region_bytes` octets a row where there are several. */
struct table {
    int64_t frames, region_bytes, payload_bytes_max, jump_us, us_per_tick;
    const int64_t *origin_ns, *from_us;
    const uint8_t *receiving, *codec;
    const int64_t *source, *ssrc, *payload_type;
    int64_t *next_sequence, *next_timestamp, *head;
    int64_t *transit_us, *arrival_us, *stamp_ns;
    double *jitter_us;
    int64_t *tally; /* a row has `tally_width` counters, of which these two are written */
    int64_t tally_width, tally_packets, tally_octets;
    int64_t *count, *fill;
    int64_t *timestamps, *arrivals_us, *lengths;
    uint8_t *codecs, *flags, *pool;
};

enum { RTP_HEADER_BYTES = 12 };

static uint32_t big_endian(const uint8_t *octets)
{
    return (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 | (uint32_t)octets[2] << 8 | octets[3];
}

/* The call time at which datagram `i` arrived, in us; negative for what came before the call or cannot be told so. */
static int64_t arrival(const struct batch *batch, const struct table *table, int64_t i, int64_t now_ns, int64_t offset_ns)
{
    int64_t stamp_ns = batch->stamps_ns[i] == 0 ? now_ns : batch->stamps_ns[i] - offset_ns;
    int64_t passed_ns = (stamp_ns < now_ns ? stamp_ns : now_ns) - table->origin_ns[batch->rows[i]];
    return passed_ns < 0 ? -1 : passed_ns / 1000;
}

/* Whether each of the datagrams [first, last), all of one row, is the one expected next. */
static int is_in_order(const struct batch *batch, const struct table *table, int64_t first, int64_t last, int64_t now_ns,
                       int64_t offset_ns)
{
    int64_t row = batch->rows[first], fill = table->fill[row], head = table->head[row], transit_us = table->transit_us[row];
    if (!table->receiving[row] || table->payload_type[row] < 0 || table->count[row] + (last - first) > table->frames)
        return 0;
    for (int64_t i = first; i < last; i++) {
        const uint8_t *octets = batch->octets + batch->slots[i] * batch->slot_bytes;
        int64_t payload = batch->lengths[i] - RTP_HEADER_BYTES, done = head - table->head[row];
        if (payload <= 0 || payload > table->payload_bytes_max || fill + payload > table->region_bytes)
            return 0;
        int64_t arrived_us = arrival(batch, table, i, now_ns, offset_ns);
        int64_t now_transit_us = arrived_us - head * table->us_per_tick, deviation = now_transit_us - transit_us;
        /* Version 2, no padding, extension or contributing sources, the marker as it may be. */
        uint32_t expected = (uint32_t)((table->next_sequence[row] + (i - first)) & 0xFFFF) | 0x80000000u
                            | (uint32_t)table->payload_type[row] << 16;
        if ((big_endian(octets) & 0xFF7FFFFFu) != expected
            || big_endian(octets + 4) != (uint32_t)(table->next_timestamp[row] + done)
            || (int64_t)big_endian(octets + 8) != table->ssrc[row] || batch->sources[i] != table->source[row]
            || arrived_us < 0 || arrived_us < table->from_us[row]
            || (deviation < 0 ? -deviation : deviation) >= table->jump_us)
            return 0;
        head += payload;
        fill += payload;
        transit_us = now_transit_us;
    }
    return 1;
}

static void keep(const struct batch *batch, const struct table *table, int64_t first, int64_t last, int64_t now_ns,
                 int64_t offset_ns)
{
    int64_t row = batch->rows[first], octets = 0;
    for (int64_t i = first; i < last; i++) {
        int64_t payload = batch->lengths[i] - RTP_HEADER_BYTES, head = table->head[row];
        int64_t arrived_us = arrival(batch, table, i, now_ns, offset_ns);
        int64_t transit_us = arrived_us - head * table->us_per_tick, deviation = transit_us - table->transit_us[row];
        int64_t at = row * table->frames + table->count[row]++;
        table->timestamps[at] = head;
        table->arrivals_us[at] = arrived_us;
        table->lengths[at] = payload;
        table->codecs[at] = table->codec[row];
        table->flags[at] = 0;
        memcpy(table->pool + row * table->region_bytes + table->fill[row],
               batch->octets + batch->slots[i] * batch->slot_bytes + RTP_HEADER_BYTES, (size_t)payload);
        table->fill[row] += payload;
        table->head[row] = head + payload;
        /* RFC 3550 6.4.1 */
        table->jitter_us[row] += ((double)(deviation < 0 ? -deviation : deviation) - table->jitter_us[row]) / 16;
        table->transit_us[row] = transit_us;
        table->arrival_us[row] = arrived_us;
        table->stamp_ns[row] = batch->stamps_ns[i] == 0 ? now_ns + offset_ns : batch->stamps_ns[i];
        octets += payload;
    }
    table->next_sequence[row] += last - first;
    table->next_timestamp[row] = (table->next_timestamp[row] + octets) & 0xFFFFFFFF;
    table->tally[row * table->tally_width + table->tally_packets] += last - first;
    table->tally[row * table->tally_width + table->tally_octets] += octets;
}

/* Keeps the packets of every row of which all are in order, and leaves the other rows as they are. `left` gets the
 * indices of their datagrams; returns how many. What is in order is said in media/intake.py. */
int64_t callvault_take(const struct batch *batch, const struct table *table, int64_t now_ns, int64_t offset_ns,
                       int64_t *left)
{
    int64_t leaving = 0, last;
    for (int64_t first = 0; first < batch->count; first = last) {
        for (last = first + 1; last < batch->count && batch->rows[last] == batch->rows[first]; last++)
            ;
        if (is_in_order(batch, table, first, last, now_ns, offset_ns))
            keep(batch, table, first, last, now_ns, offset_ns);
        else
            for (int64_t i = first; i < last; i++)
                left[leaving++] = i;
    }
    return leaving;
}
