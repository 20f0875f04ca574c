/* Reads texts from standard input (length as 4 bytes, text), each into memory of exactly its size, and says what
 * config_read() makes of them: the complaint, or the version and the socket between NULs. Built with sanitizers. */
#include "../../../cni/cni.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	uint32_t size;

	while (fread(&size, sizeof(size), 1, stdin) == 1) {
		char *text = malloc(size ? size : 1);
		struct config config;
		const char *wrong;

		memset(&config, 0, sizeof(config));
		if (fread(text, 1, size, stdin) != size)
			return 2;
		wrong = config_read(text, size, &config);
		free(text);
		if (wrong)
			printf("\1%s", wrong);
		else
			printf("%s%c%s", config.version, 0, config.socket);
		putchar('\n');
		fflush(stdout);
	}
	return 0;
}
