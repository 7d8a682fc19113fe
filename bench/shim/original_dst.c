/* What a cluster does to a sidecar's connections, without the rights to change the packet filter.
 * Preloaded into the sidecars under test only.
 *
 * SO_ORIGINAL_DST: a client at 127.x.9.K to 127.x.16.K is taken to have connected to 10.200.0.K:80, everybody
 * else to where it arrived. connect(): 127.x.100.0 and above are many addresses of one pod, which
 * is at 127.x.2.1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORIGINAL_DST 80

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    struct sockaddr_in *dst = value;
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;

    if (level != SOL_IP || name != ORIGINAL_DST || *len < sizeof *dst)
        return syscall(SYS_getsockopt, fd, level, name, value, len);
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0)
        return -1;
    unsigned long ip = ntohl(peer.sin_addr.s_addr);
    unsigned long net = ip >> 8 & 255;
    if (ip >> 24 == 127 && net >= 9 && net <= 16) {
        memset(dst, 0, sizeof *dst);
        dst->sin_family = AF_INET;
        dst->sin_port = htons(80);
        dst->sin_addr.s_addr = htonl(0x0ac80000UL | (ip & 255));
        *len = sizeof *dst;
        return 0;
    }
    return getsockname(fd, (struct sockaddr *)dst, len);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_in one;

    if (addr->sa_family == AF_INET && len >= sizeof one) {
        memcpy(&one, addr, sizeof one);
        uint32_t ip = ntohl(one.sin_addr.s_addr);
        if (ip >> 24 == 127 && (ip >> 8 & 255) >= 100) {
            one.sin_addr.s_addr = htonl((ip & 0xffff0000UL) | 0x0201);
            return syscall(SYS_connect, fd, &one, sizeof one);
        }
    }
    return syscall(SYS_connect, fd, addr, len);
}
