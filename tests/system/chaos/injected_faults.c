/* Faults of disk and clock for one process, switched while it runs. Loaded with LD_PRELOAD; injected_faults.py drives it.
 *
 * CHAOS_CONTROL names a file of `struct control`, which both sides map; CHAOS_FOLDER the folder whose files' writes and
 * syncs are at the mercy of it. Sockets, logs and every other file are left alone, and so is the monotonic clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* FIELDS in injected_faults.py has the same, in the same order. */
struct control {
    volatile int64_t clock_offset_ns; /* added to the wall clock */
    volatile int64_t sync_delay_ns;   /* before each sync */
    volatile int64_t sync_error;      /* errno of each sync, 0 for none */
    volatile int64_t write_error;     /* errno of each write, 0 for none; the first one writes half of its bytes */
    volatile int64_t is_torn;         /* ours: that first write has been */
    volatile int64_t is_lying;        /* writes report success and write nothing */
};

static struct control none;
static struct control *control = &none;
static char folder[4096];

/* Looked up at the first call, which may come from another library's constructor, before ours. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("CHAOS_CONTROL"), *named = getenv("CHAOS_FOLDER");
    int descriptor = file == NULL || named == NULL ? -1 : open(file, O_RDWR | O_CLOEXEC);
    void *shared = descriptor < 0 ? MAP_FAILED
                                  : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (shared == MAP_FAILED || (size_t)snprintf(folder, sizeof folder, "%s/", named) >= sizeof folder) {
        fprintf(stderr, "injected_faults.c: CHAOS_CONTROL and CHAOS_FOLDER must name a file and a folder\n");
        _exit(99);
    }
    close(descriptor);
    control = shared;
}

static int is_ours(int descriptor) {
    char link[64], path[sizeof folder];
    struct stat about;
    if (fstat(descriptor, &about) != 0 || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 2);
    if (length <= 0) return 0;
    path[length] = '/'; /* So that the folder itself, which is synced too, lies within the folder. */
    path[length + 1] = '\0';
    return strncmp(path, folder, strlen(folder)) == 0;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    if ((control->write_error == 0 && !control->is_lying) || size == 0 || !is_ours(descriptor)) {
        return real(descriptor, data, size);
    }
    if (control->is_lying) return (ssize_t)size;
    if (!control->is_torn && size > 1) {
        control->is_torn = 1;
        return real(descriptor, data, size / 2);
    }
    errno = (int)control->write_error;
    return -1;
}

/* What the sync must do after its delay: fail, or go on. */
static int fails(int descriptor) {
    if ((control->sync_delay_ns == 0 && control->sync_error == 0) || !is_ours(descriptor)) return 0;
    int64_t delay_ns = control->sync_delay_ns;
    struct timespec delay = {delay_ns / 1000000000, delay_ns % 1000000000};
    nanosleep(&delay, NULL);
    errno = (int)control->sync_error;
    return errno != 0;
}

int fsync(int descriptor) {
    REAL(fsync);
    return fails(descriptor) ? -1 : real(descriptor);
}

int fdatasync(int descriptor) {
    REAL(fdatasync);
    return fails(descriptor) ? -1 : real(descriptor);
}

static int64_t wall_clock_ns(const struct timespec *true_time) {
    return (int64_t)true_time->tv_sec * 1000000000 + true_time->tv_nsec + control->clock_offset_ns;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int result = real(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t now = wall_clock_ns(time);
        time->tv_sec = now / 1000000000;
        time->tv_nsec = now % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &time) != 0) return -1;
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    if (result != NULL) *result = now.tv_sec;
    return now.tv_sec;
}
