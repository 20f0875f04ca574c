/* sink PATH: the cheapest receiver of Envoy's access logs. HTTP/2 with prior knowledge on a unix socket: it gives each
 * connection all the window that there is, acknowledges SETTINGS and PING, and throws everything else away. Prints
 * "ready" when it listens; runs until killed. */
#define _GNU_SOURCE
#include "wire.h"
#include <sys/epoll.h>
#include <sys/un.h>

#define PREFACE  24
#define HEADER   9
#define SETTINGS 4
#define PING     6
#define MOST     1024

struct connection {
	int skip;      /* bytes of the preface or of a frame's payload that nobody reads */
	int filled;    /* bytes in data */
	char data[64]; /* a frame's header; with its payload, if that is a PING's */
};

static struct connection connections[MOST];

static void say(int fd, const void *frame, int length)
{
	if (send(fd, frame, length, MSG_NOSIGNAL) != length)
		die("send");
}

static void welcome(int fd)
{
	/* SETTINGS: INITIAL_WINDOW_SIZE 2^31-1; WINDOW_UPDATE of the connection to the same */
	static const unsigned char hello[] = {0,    0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4,    0x7f, 0xff, 0xff,
					      0xff, 0, 0, 4,        8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0,    0};

	connections[fd] = (struct connection){.skip = PREFACE};
	say(fd, hello, sizeof(hello));
}

/* A header, or a whole PING, is in data. Returns how much more of the frame has to be there; 0: done with it. */
static int frame(int fd, struct connection *connection)
{
	static const unsigned char settled[HEADER] = {0, 0, 0, SETTINGS, 1};
	unsigned char *head = (unsigned char *)connection->data;
	int length = head[0] << 16 | head[1] << 8 | head[2], acknowledged = head[4] & 1;

	if (head[3] == PING && !acknowledged) {
		if (connection->filled < HEADER + length)
			return length;
		head[4] = 1;
		say(fd, head, HEADER + length);
		return 0;
	}
	if (head[3] == SETTINGS && !acknowledged)
		say(fd, settled, sizeof(settled));
	connection->skip = length;
	return 0;
}

static void take(int fd, const char *data, int length)
{
	struct connection *connection = &connections[fd];
	int wanted = HEADER;

	while (length) {
		int part = connection->skip ? connection->skip : 0;

		if (part) {
			part = part < length ? part : length;
			connection->skip -= part;
		} else {
			if (connection->filled >= HEADER)
				wanted = HEADER + 8;
			part = wanted - connection->filled < length ? wanted - connection->filled : length;
			memcpy(connection->data + connection->filled, data, part);
			connection->filled += part;
			if (connection->filled == wanted && !frame(fd, connection)) {
				connection->filled = 0;
				wanted = HEADER;
			}
		}
		data += part;
		length -= part;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), poller = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
	static char data[1 << 16];

	if (argc != 2) {
		fprintf(stderr, "usage: sink PATH\n");
		return 2;
	}
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 64))
		die("listen");
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poller, events, 64, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd, length;

			if (fd == listener) {
				fd = accept(listener, NULL, NULL);
				if (fd < 0 || fd >= MOST)
					die("accept");
				welcome(fd);
				event.data.fd = fd;
				epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
				continue;
			}
			length = recv(fd, data, sizeof(data), MSG_DONTWAIT);
			if (length > 0)
				take(fd, data, length);
			else if (!length || errno != EAGAIN)
				close(fd);
		}
	}
}
