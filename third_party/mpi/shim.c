//go:build cgo && linux

#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shim.h"

static void *lib;

void *dataflex_mpi_library(const char *path, char *why, int n)
{
	lib = dlopen(path, RTLD_NOW | RTLD_GLOBAL); /* global: MPIs open parts of themselves that expect it */
	if (lib == NULL)
		snprintf(why, (size_t)n, "%s", dlerror());
	return lib;
}

const struct dataflex_mpi *dataflex_mpi_plugin(const char *path, char *why, int n)
{
	if (dataflex_mpi_library(path, why, n) == NULL)
		return NULL;
	dataflex_mpi_entry *entry;
	*(void **)&entry = dlsym(lib, "dataflex_mpi_2");
	if (entry == NULL) {
		snprintf(why, (size_t)n, "%s", dlerror());
		return NULL;
	}
	const struct dataflex_mpi *e = entry();
	if (e->version != DATAFLEX_MPI_ENGINE) {
		snprintf(why, (size_t)n, "%s is a plugin of version %d, this program knows %d: make mpi builds it anew", path, e->version, DATAFLEX_MPI_ENGINE);
		return NULL;
	}
	return e;
}

int dataflex_mpi_finalize(const struct dataflex_mpi *e)
{
	int mpich = strstr(e->name(), "MPICH") != NULL;
	int code = e->finalize();
	if (code == 0 && mpich)
		dlclose(lib);
	return code;
}

static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL, SIGURG, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGCHLD};
enum { KEPT = sizeof kept / sizeof *kept };
static struct sigaction before[KEPT];

void dataflex_mpi_save_handlers(void)
{
	for (int i = 0; i < KEPT; i++)
		sigaction(kept[i], NULL, &before[i]);
}

void dataflex_mpi_restore_handlers(void)
{
	for (int i = 0; i < KEPT; i++) {
		struct sigaction now;
		sigaction(kept[i], NULL, &now);
		if (now.sa_sigaction != before[i].sa_sigaction || now.sa_flags != before[i].sa_flags)
			sigaction(kept[i], &before[i], NULL);
	}
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int dataflex_mpi_wait(const struct dataflex_mpi *e, int pause, int32_t *done, uint8_t *arrived, int32_t *from, char *text, int bytes)
{
	int64_t end = now() + 1000;
	*from = -1;
	for (int i = 0;; i++) {
		int code = e->test(done, arrived);
		/* a rank may have given up since it came; what it told may take a few looks to get here */
		for (int look = 0; *done && code == 0 && *from < 0 && look < 4; look++)
			code = e->heard(from, text, bytes);
		if (*done)
			return code;
		if (code != 0)
			return code;
		if (i < 100 && pause == 0) /* most calls end within microseconds */
			continue;
		if ((code = e->heard(from, text, bytes)) != 0 || *from >= 0 || now() > end)
			return code;
		if (pause == 0)
			sched_yield();
		else
			nanosleep(&(struct timespec){.tv_nsec = 1000L * pause}, NULL);
	}
}
