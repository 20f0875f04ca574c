/* probe: reads a batch of lines "tcp|udp|icmp ADDRESS PORT TIMEOUT_MS", ended by an empty line; tries them all at once;
 * prints one line each, in the same order, then an empty line; then takes the next batch, until the end of its input.
 *
 *   open NAME PEER               the server (server.c) answered "who": its name, and the address it saw
 *   refused, reset, timeout, unreachable, forbidden, or the system's words for another error
 *
 * A TCP probe is open only after an exchange of data, and is closed with a FIN. A UDP question is repeated once
 * half-way. An ICMP probe is an echo request (needs CAP_NET_RAW; PORT is ignored); its "open" says "echo". */
#define _GNU_SOURCE
#include "wire.h"
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>

#define MOST 4096

enum { TCP, UDP, ICMP };

struct probe {
	int kind, asked, done;
	long long started, deadline;
	union address address;
	socklen_t size;
	char outcome[600];
};

static struct probe probes[MOST];
static struct pollfd sockets[MOST];

static void finish(int i, const char *outcome)
{
	snprintf(probes[i].outcome, sizeof(probes[i].outcome), "%s", outcome);
	probes[i].done = 1;
	if (sockets[i].fd >= 0)
		close(sockets[i].fd);
	sockets[i].fd = -1;
}

static unsigned short echo_id(int i)
{
	return getpid() * 31 + i;
}

/* Both families' echo headers are alike but for the type; the kernel fills in ICMPv6's checksum only. */
static int send_echo(int i)
{
	int v4 = probes[i].address.any.sa_family == AF_INET;
	struct icmphdr echo = {.type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST};

	echo.un.echo.id = htons(echo_id(i));
	if (v4)
		echo.checksum = ~(echo.type + echo.un.echo.id);
	return send(sockets[i].fd, &echo, sizeof(echo), MSG_NOSIGNAL);
}

static void ask(int i)
{
	int sent;

	probes[i].asked++;
	sockets[i].events = POLLIN;
	sent = probes[i].kind == ICMP ? send_echo(i) : send(sockets[i].fd, "who\n", 4, MSG_NOSIGNAL);
	if (sent < 0)
		finish(i, spell_error(errno));
}

static int open_socket(int kind, int family)
{
	if (kind == ICMP)
		return socket(family, SOCK_RAW | SOCK_NONBLOCK, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	return socket(family, (kind == TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
}

static int begin(int i, const char *line)
{
	struct probe *probe = &probes[i];
	char protocol[8], address[64];
	int port, timeout_ms;

	memset(probe, 0, sizeof(*probe));
	sockets[i] = (struct pollfd){.fd = -1};
	if (sscanf(line, "%7s %63s %d %d", protocol, address, &port, &timeout_ms) != 4)
		return -1;
	probe->kind = !strcmp(protocol, "tcp") ? TCP : !strcmp(protocol, "udp") ? UDP : ICMP;
	probe->size = parse_address(address, port, &probe->address);
	if (!probe->size)
		return -1;
	probe->started = now_ns();
	probe->deadline = probe->started + timeout_ms * 1000000LL;
	sockets[i].fd = open_socket(probe->kind, probe->address.any.sa_family);
	sockets[i].events = POLLOUT;
	if (sockets[i].fd < 0)
		die("socket");
	if (connect(sockets[i].fd, &probe->address.any, probe->size) && errno != EINPROGRESS)
		finish(i, spell_error(errno));
	else if (probe->kind != TCP)
		ask(i);
	return 0;
}

/* A raw socket sees every ICMP packet of its peer: 1 when this one is the answer to our request. */
static int is_echo_reply(int i, const char *data, int length)
{
	int v4 = probes[i].address.any.sa_family == AF_INET, at = v4 ? (data[0] & 15) * 4 : 0;
	struct icmphdr echo;

	if (length < at + (int)sizeof(echo))
		return 0;
	memcpy(&echo, data + at, sizeof(echo));
	return echo.type == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) && echo.un.echo.id == htons(echo_id(i));
}

static void advance(int i)
{
	struct probe *probe = &probes[i];
	char data[512], outcome[600];
	int error = 0, length;
	socklen_t size = sizeof(error);

	if (probe->kind == TCP && !probe->asked) {
		getsockopt(sockets[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error)
			finish(i, spell_error(error));
		else
			ask(i);
		return;
	}
	length = recv(sockets[i].fd, data, sizeof(data) - 1, 0);
	if (length < 0 && errno == EAGAIN)
		return;
	if (length <= 0) {
		finish(i, length ? spell_error(errno) : "closed");
		return;
	}
	if (probe->kind == ICMP) {
		if (is_echo_reply(i, data, length))
			finish(i, "open echo -");
		return;
	}
	data[length] = 0;
	data[strcspn(data, "\n")] = 0;
	snprintf(outcome, sizeof(outcome), "open %s", data);
	finish(i, outcome);
}

/* Milliseconds until the next thing to do without a packet; -1 when every probe is done. */
static int tick(int count)
{
	long long now = now_ns(), next = -1;

	for (int i = 0; i < count; i++) {
		struct probe *probe = &probes[i];
		long long half = (probe->started + probe->deadline) / 2, due;

		if (!probe->done && now >= probe->deadline)
			finish(i, "timeout");
		if (!probe->done && probe->kind != TCP && probe->asked == 1 && now >= half)
			ask(i);
		if (probe->done)
			continue;
		due = probe->kind != TCP && probe->asked == 1 ? half : probe->deadline;
		if (next < 0 || due < next)
			next = due;
	}
	return next < 0 ? -1 : (int)((next - now) / 1000000) + 1;
}

static void run_batch(int count)
{
	int wait_ms;

	while ((wait_ms = tick(count)) >= 0) {
		poll(sockets, count, wait_ms);
		for (int i = 0; i < count; i++)
			if (sockets[i].fd >= 0 && sockets[i].revents)
				advance(i);
	}
	for (int i = 0; i < count; i++)
		puts(probes[i].outcome);
	puts("");
	fflush(stdout);
}

int main(void)
{
	char line[256];
	int count = 0;

	while (fgets(line, sizeof(line), stdin)) {
		if (line[0] == '\n') {
			run_batch(count);
			count = 0;
		} else if (count == MOST || begin(count++, line)) {
			fprintf(stderr, "probe: cannot take: %s", line);
			return 2;
		}
	}
	return 0;
}
