/* Makes fsync and fdatasync as slow as a real disk's, and counts them.
 *
 * LD_PRELOAD it. SLOWSYNC_US: microseconds added to each call. SLOWSYNC_COUNT: a file of 8 bytes that holds the number of calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile uint64_t *calls;
static useconds_t pause_us;
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *us = getenv("SLOWSYNC_US"), *path = getenv("SLOWSYNC_COUNT");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    pause_us = us ? (useconds_t)atoi(us) : 0;
    if (!path) return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof *calls) != 0) return;
    void *room = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (room != MAP_FAILED) calls = room;
    close(file);
}

static int slowly(int (*real)(int), int file) {
    if (calls) __sync_fetch_and_add(calls, 1);
    if (pause_us) usleep(pause_us);
    return real(file);
}

int fsync(int file) { return slowly(real_fsync, file); }
int fdatasync(int file) { return slowly(real_fdatasync, file); }
