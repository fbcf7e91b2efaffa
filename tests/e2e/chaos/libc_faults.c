/* Faults of a machine for one process: a volume that fails or is slow, and a clock that jumps.
 *
 * LD_PRELOAD puts these functions before the C library's. They read a control file that the test maps as well
 * (CHAOS_CONTROL), so that a fault begins and ends while the process runs. Calls on paths outside CHAOS_VOLUME, and
 * sockets, pass untouched. A full disk refuses what makes a file grow or appear: it never refuses a read or a removal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control { /* as struct format "<qii" of libc_faults.py */
    volatile int64_t clock_offset_ns;
    volatile int32_t volume_errno;
    volatile int32_t sync_delay_ms;
};

static struct control none;
static struct control *control = &none;
static const char *volume;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_CONTROL");
    volume = getenv("CHAOS_VOLUME");
    int file = path == NULL || volume == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) control = mapped;
}

#define REAL(name) static __typeof__(&name) real; if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int on_volume(const char *path) { return volume != NULL && strncmp(path, volume, strlen(volume)) == 0; }

static int file_on_volume(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return on_volume(path);
}

static int fails(int file) {
    int code = control->volume_errno;
    if (code == 0 || !file_on_volume(file)) return 0;
    errno = code;
    return 1;
}

static int path_fails(const char *path) {
    int code = control->volume_errno;
    if (code == 0 || !on_volume(path)) return 0;
    errno = code;
    return 1;
}

static int makes_a_file(int directory, const char *path, int flags) {
    struct stat found;
    return (flags & O_CREAT) && fstatat(directory, path, &found, 0) != 0;
}

ssize_t write(int file, const void *data, size_t length) { REAL(write); return fails(file) ? -1 : real(file, data, length); }
ssize_t writev(int file, const struct iovec *data, int count) { REAL(writev); return fails(file) ? -1 : real(file, data, count); }
ssize_t pwrite(int file, const void *data, size_t length, off_t at) { REAL(pwrite); return fails(file) ? -1 : real(file, data, length, at); }
ssize_t pwrite64(int file, const void *data, size_t length, off64_t at) { REAL(pwrite64); return fails(file) ? -1 : real(file, data, length, at); }

static int grows(int file, off64_t length) {
    struct stat found;
    return fstat(file, &found) == 0 && length > found.st_size;
}

int ftruncate(int file, off_t length) { REAL(ftruncate); return grows(file, length) && fails(file) ? -1 : real(file, length); }
int ftruncate64(int file, off64_t length) { REAL(ftruncate64); return grows(file, length) && fails(file) ? -1 : real(file, length); }
int posix_fallocate(int file, off_t at, off_t length) { REAL(posix_fallocate); return fails(file) ? errno : real(file, at, length); }
int posix_fallocate64(int file, off64_t at, off64_t length) { REAL(posix_fallocate64); return fails(file) ? errno : real(file, at, length); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return path_fails(path) ? -1 : real(path, mode); }

static void be_slow(int file) {
    int milliseconds = control->sync_delay_ms;
    if (milliseconds > 0 && file_on_volume(file)) usleep((useconds_t)milliseconds * 1000);
}

int fsync(int file) { REAL(fsync); be_slow(file); return fails(file) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); be_slow(file); return fails(file) ? -1 : real(file); }

#define OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                            \
        REAL(name);                                                                         \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return makes_a_file(AT_FDCWD, path, flags) && path_fails(path) ? -1 : real(path, flags, mode); \
    }
#define OPENAT(name)                                                                        \
    int name(int directory, const char *path, int flags, ...) {                             \
        REAL(name);                                                                         \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return makes_a_file(directory, path, flags) && path_fails(path) ? -1 : real(directory, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int status = real(clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && control->clock_offset_ns != 0) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control->clock_offset_ns;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec fine;
    int status = clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return status;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told != NULL) *told = now.tv_sec;
    return now.tv_sec;
}
