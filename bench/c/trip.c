/* trip rr ADDRESS PORT COUNT            round trips of one byte over one connection
 * trip connect ADDRESS PORT COUNT [N]   connect, one byte there and back, reset
 *
 * With N the connects go to N services in turn, spread by a stride: service i has address ADDRESS + i / 100 and port
 * PORT + i % 100 (IPv4). Prints the median and the 99th percentile of one turn, in nanoseconds. */
#define _GNU_SOURCE
#include "wire.h"

static long long *samples;
static unsigned services;

static int compare(const void *left, const void *right)
{
	long long a = *(const long long *)left, b = *(const long long *)right;

	return (a > b) - (a < b);
}

static void exchange(int fd)
{
	char byte = 'x';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		die("exchange");
}

static int open_to(const union address *address, socklen_t size)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM, 0), on = 1;

	if (connect(fd, &address->any, size))
		die("connect");
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void round_trips(const union address *address, socklen_t size, int count)
{
	int fd = open_to(address, size);

	for (int i = -100; i < count; i++) { /* the first hundred are not counted */
		long long started = now_ns();

		exchange(fd);
		if (i >= 0)
			samples[i] = now_ns() - started;
	}
}

static void connects(const union address *first, socklen_t size, int count)
{
	struct linger reset = {1, 0};

	for (int i = 0; i < count; i++) {
		union address address = *first;
		unsigned service = services ? i * 7919u % services : 0;
		long long started = now_ns();
		int fd;

		if (services) {
			address.v4.sin_addr.s_addr = htonl(ntohl(first->v4.sin_addr.s_addr) + service / 100);
			address.v4.sin_port = htons(ntohs(first->v4.sin_port) + service % 100);
		}
		fd = open_to(&address, size);
		exchange(fd);
		samples[i] = now_ns() - started;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	union address address;
	socklen_t size = argc > 4 ? parse_address(argv[2], atoi(argv[3]), &address) : 0;
	int count = argc > 4 ? atoi(argv[4]) : 0;

	if (!size || count < 1) {
		fprintf(stderr, "usage: trip rr|connect ADDRESS PORT COUNT [SERVICES]\n");
		return 2;
	}
	services = argc > 5 ? atoi(argv[5]) : 0;
	samples = calloc(count, sizeof(*samples));
	if (!strcmp(argv[1], "rr"))
		round_trips(&address, size, count);
	else
		connects(&address, size, count);
	qsort(samples, count, sizeof(*samples), compare);
	printf("%lld %lld\n", samples[count / 2], samples[count * 99 / 100]);
	return 0;
}
