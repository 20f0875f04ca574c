/* server [-s] NAME tcp:8080 udp:53 ...: listens on every address of both families and prints "ready" once all ports
 * are open. It echoes what it gets, over TCP and UDP alike, except for
 *
 *   "who\n"      answered with "NAME PEER-ADDRESS\n"
 *   "GET ..."    answered as HTTP/1.1, the same text as the body
 *
 * A connection that was reset is reported on a line of its own: "reset". One process, one thread, epoll; it ends when
 * its standard input does (with -s: runs until killed). */
#define _GNU_SOURCE
#include "wire.h"
#include <sys/epoll.h>

enum { LISTEN = 1, CONNECTION, DATAGRAM, INPUT };
enum { CONNECTIONS = 65536 };

static const char *name;
static int poller;

/* What the socket's buffer did not take, by descriptor; until it is sent nothing more is read from there. */
static struct rest {
	char *data;
	int length;
} rests[CONNECTIONS];

static void watch(int fd, int kind)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (unsigned long long)kind << 32 | fd};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void open_port(const char *spec)
{
	int on = 1, tcp = !strncmp(spec, "tcp:", 4), fd;
	struct sockaddr_in6 address = {.sin6_family = AF_INET6};

	if (!tcp && strncmp(spec, "udp:", 4)) {
		fprintf(stderr, "server: %s: expected tcp:PORT or udp:PORT\n", spec);
		exit(2);
	}
	address.sin6_port = htons(atoi(spec + 4));
	fd = socket(AF_INET6, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!tcp)
		setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || (tcp && listen(fd, 4096)))
		die(spec);
	watch(fd, tcp ? LISTEN : DATAGRAM);
}

/* The answer to what was read, in place: its length. */
static int answer(char *data, int length, int space, const struct sockaddr_in6 *peer)
{
	char text[INET6_ADDRSTRLEN], who[512];
	int size = snprintf(who, sizeof(who), "%s %s\n", name, spell_address(peer, text));

	if (length == 4 && !memcmp(data, "who\n", 4)) {
		memcpy(data, who, size);
		return size;
	}
	if (length >= 4 && !memcmp(data, "GET ", 4))
		return snprintf(data, space,
				"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", size,
				who);
	return length;
}

static void watch_for(int fd, unsigned int events)
{
	struct epoll_event event = {.events = events, .data.u64 = (unsigned long long)CONNECTION << 32 | fd};

	if (epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event))
		die("epoll_ctl");
}

/* False: the connection is gone. */
static int send_or_keep(int fd, const char *data, int length)
{
	struct rest *rest = &rests[fd];
	int sent = send(fd, data, length, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		return 0;
	length -= sent > 0 ? sent : 0;
	data += sent > 0 ? sent : 0;
	if (length) {
		char *kept = malloc(length);

		if (!kept)
			die("malloc");
		memcpy(kept, data, length);
		free(rest->data);
		*rest = (struct rest){kept, length};
		watch_for(fd, EPOLLOUT);
	} else if (rest->data) {
		free(rest->data);
		*rest = (struct rest){0};
		watch_for(fd, EPOLLIN);
	}
	return 1;
}

static void end_connection(int fd)
{
	free(rests[fd].data);
	rests[fd] = (struct rest){0};
	close(fd);
}

static void serve_connection(int fd)
{
	char data[65536];
	struct sockaddr_in6 peer;
	socklen_t size = sizeof(peer);
	int length;

	if (rests[fd].data) {
		if (!send_or_keep(fd, rests[fd].data, rests[fd].length))
			end_connection(fd);
		return;
	}
	length = read(fd, data, sizeof(data));

	if (length < 0 && errno == EAGAIN)
		return;
	if (length < 0 && errno == ECONNRESET) {
		printf("reset\n");
		fflush(stdout);
	}
	if (length > 0 && !getpeername(fd, (struct sockaddr *)&peer, &size)) {
		length = answer(data, length, sizeof(data), &peer);
		if (send_or_keep(fd, data, length))
			return;
	}
	end_connection(fd);
}

/* Answers from the address that was asked. */
static void serve_datagram(int fd)
{
	char data[65536], control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct sockaddr_in6 peer;
	struct iovec part = {data, sizeof(data)};
	struct msghdr message = {&peer, sizeof(peer), &part, 1, control, sizeof(control), 0};
	struct cmsghdr *info;
	int length = recvmsg(fd, &message, 0);

	if (length < 0)
		return;
	part.iov_len = answer(data, length, sizeof(data), &peer);
	info = CMSG_FIRSTHDR(&message);
	if (info && info->cmsg_type == IPV6_PKTINFO)
		((struct in6_pktinfo *)CMSG_DATA(info))->ipi6_ifindex = 0;
	sendmsg(fd, &message, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
	int stay = argc > 1 && !strcmp(argv[1], "-s"), first = 1 + stay;
	struct epoll_event events[64];
	char ignored[256];

	if (argc < first + 2) {
		fprintf(stderr, "usage: server [-s] NAME tcp:PORT|udp:PORT ...\n");
		return 2;
	}
	name = argv[first];
	poller = epoll_create1(0);
	for (int i = first + 1; i < argc; i++)
		open_port(argv[i]);
	if (!stay)
		watch(0, INPUT);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poller, events, 64, -1);

		for (int i = 0; i < count; i++) {
			int fd = (int)events[i].data.u64, kind = events[i].data.u64 >> 32, new;

			if (kind == LISTEN)
				while ((new = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					if (new < CONNECTIONS)
						watch(new, CONNECTION);
					else
						close(new);
			else if (kind == CONNECTION)
				serve_connection(fd);
			else if (kind == DATAGRAM)
				serve_datagram(fd);
			else if (read(0, ignored, sizeof(ignored)) <= 0)
				return 0;
		}
	}
}
