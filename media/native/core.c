/* The loops of a media worker's tick that cost the most: one call for a pass over all sockets, one for a batch of cells.
 *
 * Plain C behind a plain ABI, called through ctypes with the GIL held: nothing here blocks, allocates or keeps a pointer.
 * Every array is the caller's, who vouches for its length. The Python twins of these loops stand beside their callers
 * (media/receive.py, media/vad.py) and do the same; tests run over both.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Raised with every change of a function's meaning: a library of another number is not used. */
enum { ABI = 1 };

int callvault_abi(void) { return ABI; }

/* Takes up to `burst` datagrams from each of `sockets` descriptors into the headers from `headers` on, one after the
 * other, until `slots` are used; the last burst may go beyond, the arena has room for it. `counts` gets how many each
 * socket gave. Returns how many headers were used. */
int callvault_receive(const int *descriptors, int sockets, struct mmsghdr *headers, int slots, int burst, int32_t *counts)
{
    int used = 0, at = 0;
    for (; at < sockets && used < slots; at++) {
        int count = recvmmsg(descriptors[at], headers + used, (unsigned)burst, MSG_DONTWAIT, NULL);
        counts[at] = count > 0 ? count : 0;
        used += counts[at];
    }
    for (; at < sockets; at++)
        counts[at] = 0;
    return used;
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
