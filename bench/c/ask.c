/* ask ADDRESS PORT CONNECTIONS MILLISECONDS MOST [keep|close [PATH]]
 *
 * HTTP/1.1 client, one thread: each connection sends GET PATH (or /) and, when the whole answer is there, the next one;
 * with "close" each request has a connection of its own, whose making is part of its time. Any answer but 200 with a
 * Content-Length is an error. Ends when nine tenths of MILLISECONDS have been counted and ten requests, or after MOST
 * requests if that is not 0; the first tenth is not counted. Prints requests/s, and the median and the 99th
 * percentile of a request in nanoseconds. */
#define _GNU_SOURCE
#include "wire.h"
#include <sys/epoll.h>

#define SAMPLES (1 << 21)
#define FEWEST  10

struct connection {
	int fd;
	int filled; /* bytes of the answer so far */
	long long started;
	char data[4096];
};

static union address server;
static socklen_t server_size;
static char request[256];
static int poller, closing;
static long long *samples;
static long count;

static int compare(const void *left, const void *right)
{
	long long a = *(const long long *)left, b = *(const long long *)right;

	return (a > b) - (a < b);
}

static void begin(struct connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	int on = 1;

	connection->filled = 0;
	connection->started = now_ns();
	if (connection->fd < 0) {
		connection->fd = socket(server.any.sa_family, SOCK_STREAM, 0);
		if (connect(connection->fd, &server.any, server_size))
			die("connect");
		setsockopt(connection->fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
		if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event))
			die("epoll_ctl");
	}
	if (send(connection->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		die("send");
}

/* Whether the whole answer is there. */
static int complete(struct connection *connection)
{
	char *end, *length;

	connection->data[connection->filled] = 0;
	end = strstr(connection->data, "\r\n\r\n");
	if (!end)
		return 0;
	length = strcasestr(connection->data, "\r\ncontent-length:");
	if (strncmp(connection->data, "HTTP/1.1 200 ", 13) || !length || length > end) {
		fprintf(stderr, "not the answer expected: %s\n", connection->data);
		exit(1);
	}
	return connection->filled >= end + 4 - connection->data + atoi(length + 17);
}

/* Whether it has got its answer. */
static int receive(struct connection *connection)
{
	int room = sizeof(connection->data) - 1 - connection->filled;
	int got = recv(connection->fd, connection->data + connection->filled, room, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got <= 0) {
		if (!got)
			errno = ECONNRESET;
		die("receive");
	}
	connection->filled += got;
	return complete(connection);
}

int main(int argc, char **argv)
{
	int connections = argc > 5 ? atoi(argv[3]) : 0;
	long most = argc > 5 ? atol(argv[5]) : 0, first = -1;
	struct connection *all = calloc(connections > 0 ? connections : 1, sizeof(*all));
	long long duration = argc > 5 ? atoll(argv[4]) * 1000000 : 0, began, counted = 0, now;
	struct epoll_event events[64];

	server_size = argc > 5 ? parse_address(argv[1], atoi(argv[2]), &server) : 0;
	if (!server_size || connections < 1 || duration < 1) {
		fprintf(stderr, "usage: ask ADDRESS PORT CONNECTIONS MILLISECONDS MOST [keep|close [PATH]]\n");
		return 2;
	}
	closing = argc > 6 && !strcmp(argv[6], "close");
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s:%s\r\n%s\r\n", argc > 7 ? argv[7] : "/",
		 argv[1], argv[2], closing ? "Connection: close\r\n" : "");
	samples = calloc(SAMPLES, sizeof(*samples));
	poller = epoll_create1(0);
	began = now_ns();
	for (int i = 0; i < connections; i++) {
		all[i].fd = -1;
		begin(&all[i]);
	}
	for (now = began; count < SAMPLES && (!most || count < most);) {
		int ready;

		if (first >= 0 && now - counted >= duration - duration / 10 && count - first >= FEWEST)
			break;
		ready = epoll_wait(poller, events, 64, 5000);
		if (ready < 1) {
			errno = ETIMEDOUT;
			die("no answer");
		}
		for (int i = 0; i < ready; i++) {
			struct connection *connection = events[i].data.ptr;

			if (!receive(connection))
				continue;
			now = now_ns();
			if (first < 0 && (now - began > duration / 10 || (most && count >= most / 10))) {
				first = count;
				counted = now;
			}
			if (count < SAMPLES)
				samples[count++] = now - connection->started;
			if (closing) {
				close(connection->fd);
				connection->fd = -1;
			}
			begin(connection);
		}
	}
	count -= first;
	if (first < 0 || count < FEWEST) {
		fprintf(stderr, "MOST is too few\n");
		return 2;
	}
	qsort(samples + first, count, sizeof(*samples), compare);
	printf("%.1f %lld %lld\n", count * 1e9 / (now - counted), samples[first + count / 2],
	       samples[first + count * 99 / 100]);
	return 0;
}
