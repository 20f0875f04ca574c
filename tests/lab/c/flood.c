/* flood [-p PORT] [-r SECONDS] ADDRESS ...: from its first instruction to its end, as fast as it can, sends datagrams
 * and opens TCP connections to PORT (default 7777) of every address, and counts what comes back. On a line on standard
 * input, on its end, or after SECONDS it prints
 *
 *   SENT ANSWERED CONNECTED      datagrams sent, datagrams that came back, TCP connections that were accepted
 *
 * and ends. */
#define _GNU_SOURCE
#include "wire.h"
#include <poll.h>

#define MOST 64

static union address targets[MOST];
static socklen_t sizes[MOST];
static int datagrams[MOST], streams[MOST], count;
static unsigned long sent, answered, connected;

static void renew_stream(int i)
{
	struct linger reset = {1, 0};

	if (streams[i] >= 0)
		close(streams[i]);
	streams[i] = socket(targets[i].any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(streams[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	connect(streams[i], &targets[i].any, sizes[i]);
}

static void flood_once(int i)
{
	char data[64] = "flood";
	struct pollfd stream = {.fd = streams[i], .events = POLLOUT};
	int error = 0;
	socklen_t size = sizeof(error);

	sent += sendto(datagrams[i], data, 5, MSG_DONTWAIT, &targets[i].any, sizes[i]) == 5;
	while (recv(datagrams[i], data, sizeof(data), MSG_DONTWAIT) > 0)
		answered++;
	if (poll(&stream, 1, 0) <= 0)
		return;
	getsockopt(streams[i], SOL_SOCKET, SO_ERROR, &error, &size);
	connected += !error && !(stream.revents & POLLERR);
	renew_stream(i);
}

int main(int argc, char **argv)
{
	int option, port = 7777;
	long long until = 0, renewed = now_ns();
	struct pollfd input = {.fd = 0, .events = POLLIN};

	while ((option = getopt(argc, argv, "p:r:")) > 0) {
		if (option == 'p')
			port = atoi(optarg);
		else if (option == 'r')
			until = now_ns() + atoi(optarg) * 1000000000LL;
		else
			return 2;
	}
	for (; optind < argc && count < MOST; optind++, count++) {
		sizes[count] = parse_address(argv[optind], port, &targets[count]);
		if (!sizes[count])
			return 2;
		datagrams[count] = socket(targets[count].any.sa_family, SOCK_DGRAM, 0);
		streams[count] = -1;
		renew_stream(count);
	}
	while (until ? now_ns() < until : poll(&input, 1, 0) == 0) {
		for (int i = 0; i < count; i++)
			flood_once(i);
		if (now_ns() - renewed > 200000000LL) { /* do not sit in SYN back-off */
			renewed = now_ns();
			for (int i = 0; i < count; i++)
				renew_stream(i);
		}
	}
	printf("%lu %lu %lu\n", sent, answered, connected);
	return 0;
}
