/* hold ADDRESS PORT INTERVAL_MS [TIMEOUT_MS]: opens a TCP connection and keeps it. With an interval above 0 it sends
 * eight bytes each time and waits for their echo (busy); with 0 it only waits (idle). It prints "open" once connected,
 * and at its end
 *
 *   ROUNDS OUTCOME LONGEST_MS    rounds completed; closed (FIN), reset, timeout...; longest wait for one echo
 *
 * An echo that takes longer than TIMEOUT_MS (default 10000) ends it with "timeout". A line on standard input (or its
 * end) asks it to stop: outcome "held". */
#define _GNU_SOURCE
#include "wire.h"
#include <poll.h>

static long rounds;
static long long longest;

static void end(const char *outcome)
{
	printf("%ld %s %lld\n", rounds, outcome, longest / 1000000);
	exit(0);
}

/* Waits for the connection or standard input; 1 when the connection has something to read. */
static int await(int fd, int timeout_ms)
{
	struct pollfd sources[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	int ready = poll(sources, 2, timeout_ms);

	if (ready < 0)
		die("poll");
	if (sources[0].revents)
		return 1;
	if (sources[1].revents)
		end("held");
	return 0;
}

static void receive(int fd, int expected)
{
	char data[64];
	int length = recv(fd, data, sizeof(data), 0);

	if (length < 0)
		end(spell_error(errno));
	if (!length)
		end("closed");
	if (length != expected)
		end("mangled");
}

static void one_round(int fd, int timeout_ms)
{
	char question[8];
	long long started = now_ns(), took;

	memcpy(question, &rounds, sizeof(question));
	if (send(fd, question, sizeof(question), MSG_NOSIGNAL) < 0)
		end(spell_error(errno));
	if (!await(fd, timeout_ms))
		end("timeout");
	receive(fd, sizeof(question));
	took = now_ns() - started;
	if (took > longest)
		longest = took;
	rounds++;
}

int main(int argc, char **argv)
{
	union address address;
	int interval_ms, timeout_ms, fd, on = 1;
	socklen_t size = argc > 3 ? parse_address(argv[1], atoi(argv[2]), &address) : 0;

	if (!size) {
		fprintf(stderr, "usage: hold ADDRESS PORT INTERVAL_MS [TIMEOUT_MS]\n");
		return 2;
	}
	interval_ms = atoi(argv[3]);
	timeout_ms = argc > 4 ? atoi(argv[4]) : 10000;
	fd = socket(address.any.sa_family, SOCK_STREAM, 0);
	if (connect(fd, &address.any, size))
		end(spell_error(errno));
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	one_round(fd, timeout_ms); /* the server has accepted it too */
	printf("open\n");
	fflush(stdout);
	for (;;) {
		if (await(fd, interval_ms ? interval_ms : -1))
			receive(fd, 0);
		else
			one_round(fd, timeout_ms);
	}
}
