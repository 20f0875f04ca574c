/* spray ADDRESS FIRST LAST: sends one datagram to each port from FIRST to LAST of ADDRESS, so that each is a flow of
 * its own. Prints how many the kernel took. */
#define _GNU_SOURCE
#include "wire.h"

int main(int argc, char **argv)
{
	union address address;
	socklen_t size = argc == 4 ? parse_address(argv[1], 0, &address) : 0;
	int sent = 0, fd;

	if (!size) {
		fprintf(stderr, "usage: spray ADDRESS FIRST LAST\n");
		return 2;
	}
	fd = socket(address.any.sa_family, SOCK_DGRAM, 0);
	for (int port = atoi(argv[2]); port <= atoi(argv[3]); port++) {
		address.v4.sin_port = htons(port); /* the same place in both families */
		sent += sendto(fd, "spray", 5, 0, &address.any, size) == 5;
	}
	printf("%d\n", sent);
	return 0;
}
