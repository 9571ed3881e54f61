/* Preloaded, tells a process a time of day that is CLOCK_SHIFT seconds ahead of the kernel's.

   What measures and waits has the kernel's monotonic clock and is left alone. libfaketime changes that too: with it,
   Python's time.sleep() fails (EINVAL). Nothing but the C library's own functions is needed, no headers either. */

struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

extern long syscall(long number, ...);
extern char *getenv(const char *name);
extern long strtol(const char *text, char **end, int base);

#if defined(__x86_64__)
enum { CLOCK_GETTIME = 228 };
#elif defined(__aarch64__)
enum { CLOCK_GETTIME = 113 };
#endif
enum { REALTIME = 0, REALTIME_COARSE = 5, TAI = 11 };

static long shift;

__attribute__((constructor)) static void read_shift(void) {
  const char *text = getenv("CLOCK_SHIFT");
  shift = text ? strtol(text, 0, 10) : 0;
}

int clock_gettime(int clock, struct timespec *now) {
  int failed = (int)syscall(CLOCK_GETTIME, clock, now);
  if (!failed && (clock == REALTIME || clock == REALTIME_COARSE || clock == TAI)) {
    now->seconds += shift;
  }
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(REALTIME, &exact)) {
    return -1;
  }
  now->seconds = exact.seconds;
  now->microseconds = exact.nanoseconds / 1000;
  return 0;
}

long time(long *also) {
  struct timespec exact;
  if (clock_gettime(REALTIME, &exact)) {
    return -1;
  }
  if (also) {
    *also = exact.seconds;
  }
  return exact.seconds;
}
