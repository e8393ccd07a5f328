// Runs a program as a user who has no rights.
//   usage: as-nobody PROGRAM [ARGUMENT...]

#include <grp.h>
#include <stdio.h>
#include <unistd.h>

enum { NOBODY = 65534 };

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s PROGRAM [ARGUMENT...]\n", argv[0]);
		return 2;
	}

	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)) {
		perror("cannot become nobody");
		return 1;
	}

	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
