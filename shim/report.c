#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

int report_fd = STDERR_FILENO;
int report_exit = 1;

/* One line that names what failed; every caller says on what. */
void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(report_fd, format, args);
	va_end(args);
	if (report_fd == STDERR_FILENO)
		dprintf(report_fd, "\n");
	_exit(report_exit);
}

void *need(void *memory)
{
	if (!memory)
		die("out of memory");
	return memory;
}

uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int open_dir(const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		die("%s: %m", path);
	return dir;
}
