// Says what time it is, waits 400 ms, and says that it has.
#include <stdio.h>
#include <time.h>

int main(void) {
    struct timespec now, wait = {0, 400000000};
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    fflush(stdout);
    nanosleep(&wait, NULL);
    puts("done");
    return 0;
}
