/* serve PORT: one thread, epoll; answers each byte with itself, and each HTTP request ("GET ...", however it is cut
 * into segments) with a fixed response of 100 bytes of body. Prints "ready" when it listens; runs until killed. */
#define _GNU_SOURCE
#include "wire.h"
#include <sys/epoll.h>

#define MOST 65536

static char response[512];
static unsigned char ending[MOST]; /* of a connection in the middle of a request: 1 + the bytes of "\r\n\r\n" seen */

static void prepare(void)
{
	char body[101];

	memset(body, 'x', 100);
	body[100] = 0;
	snprintf(response, sizeof(response), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n%s", body);
}

/* Answers each request that ends in data. */
static int serve(int fd, const char *data, int length)
{
	int seen = ending[fd] ? ending[fd] - 1 : 0, sent = 1;

	for (int i = 0; i < length && sent > 0; i++) {
		seen = data[i] == "\r\n\r\n"[seen] ? seen + 1 : data[i] == '\r';
		if (seen == 4) {
			sent = send(fd, response, strlen(response), MSG_NOSIGNAL);
			seen = 0;
			ending[fd] = 0;
		} else {
			ending[fd] = 1 + seen;
		}
	}
	return sent;
}

static void answer(int fd)
{
	char data[4096];
	int length = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (length < 0 && errno == EAGAIN)
		return;
	if (length > 0 && (ending[fd] || data[0] == 'G'))
		length = serve(fd, data, length);
	else if (length > 0)
		length = send(fd, data, length, MSG_NOSIGNAL);
	if (length <= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	int on = 1, listener = socket(AF_INET6, SOCK_STREAM, 0), poller = epoll_create1(0), fd;
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];

	prepare();
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 4096))
		die("listen");
	epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poller, events, 64, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd != listener) {
				answer(events[i].data.fd);
				continue;
			}
			fd = accept(listener, NULL, NULL);
			if (fd < 0)
				continue;
			if (fd >= MOST)
				die("too many connections");
			ending[fd] = 0;
			setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
			event.data.fd = fd;
			epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
		}
	}
}
