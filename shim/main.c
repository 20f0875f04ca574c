#include <string.h>

#include "shim.h"

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "run"))
		return run_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return exec_main(argc - 1, argv + 1);
	die("usage: weft-shim run --dir DIR [--lock-fd N]\n"
	    "       weft-shim exec --dir DIR [-i] [-t] -- COMMAND [ARGUMENT...]");
}
