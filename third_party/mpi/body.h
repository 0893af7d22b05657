/*
 * body.h - engine.h in calls of MPI 3, which every MPI of the last ten years has. Included by
 * plugin/mpi.c, where they are mpi.h's, and by abi.c, where they are looked up at run time.
 */
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_HEAD = 1, TAG_TOLD = 2 };

static int self, ranks;
static int meeting;        /* what was started is a meet */
static MPI_Request *heads; /* of a meet: a receive from every rank, then a send to every rank */
static int *ended;
static MPI_Request moving = MPI_REQUEST_NULL; /* of any other call */
static int *counts, *places;
static char told[512];

static const char *name(void)
{
	static char text[MPI_MAX_LIBRARY_VERSION_STRING];
	int n;
	if (text[0] == 0 && MPI_Get_library_version(text, &n) == MPI_SUCCESS)
		text[strcspn(text, "\n,")] = 0; /* the rest is how it was configured */
	return text;
}

static int init(int32_t *rank, int32_t *size)
{
	int given, e;
	if ((e = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given)) != MPI_SUCCESS)
		return e;
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	if ((e = MPI_Comm_rank(MPI_COMM_WORLD, &self)) != MPI_SUCCESS || (e = MPI_Comm_size(MPI_COMM_WORLD, &ranks)) != MPI_SUCCESS)
		return e;
	heads = malloc(2 * (size_t)ranks * sizeof *heads);
	ended = malloc(2 * (size_t)ranks * sizeof *ended);
	counts = malloc((size_t)ranks * sizeof *counts);
	places = malloc((size_t)ranks * sizeof *places);
	*rank = self, *size = ranks;
	return heads == NULL || ended == NULL || counts == NULL || places == NULL ? MPI_ERR_NO_MEM : MPI_SUCCESS;
}

static int meet(const void *mine, void *all, int32_t bytes)
{
	meeting = 1;
	for (int r = 0; r < 2 * ranks; r++)
		heads[r] = MPI_REQUEST_NULL;
	memcpy((char *)all + (size_t)self * (size_t)bytes, mine, (size_t)bytes);
	for (int r = 0; r < ranks; r++) {
		int e;
		if (r != self &&
		    ((e = MPI_Irecv((char *)all + (size_t)r * (size_t)bytes, bytes, MPI_BYTE, r, TAG_HEAD, MPI_COMM_WORLD, &heads[r])) != MPI_SUCCESS ||
		     (e = MPI_Isend(mine, bytes, MPI_BYTE, r, TAG_HEAD, MPI_COMM_WORLD, &heads[ranks + r])) != MPI_SUCCESS))
			return e;
	}
	return MPI_SUCCESS;
}

/* move says that something other than a meet is started, of n elements a rank. */
static int move(int64_t n)
{
	meeting = 0;
	return n > INT_MAX ? MPI_ERR_COUNT : MPI_SUCCESS;
}

static int alltoall(const float *in, float *out, int64_t each)
{
	int e = move(each);
	return e != MPI_SUCCESS ? e : MPI_Ialltoall(in, (int)each, MPI_FLOAT, out, (int)each, MPI_FLOAT, MPI_COMM_WORLD, &moving);
}

static int allgather(const float *in, float *out, int64_t each)
{
	int e = move(each);
	return e != MPI_SUCCESS ? e : MPI_Iallgather(in, (int)each, MPI_FLOAT, out, (int)each, MPI_FLOAT, MPI_COMM_WORLD, &moving);
}

static int reduce_scatter(const float *in, float *out, int64_t each)
{
	int e = move(each);
	return e != MPI_SUCCESS ? e : MPI_Ireduce_scatter_block(in, out, (int)each, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, &moving);
}

static int broadcast(void *data, int64_t bytes, int32_t root)
{
	int e = move(bytes);
	return e != MPI_SUCCESS ? e : MPI_Ibcast(data, (int)bytes, MPI_BYTE, root, MPI_COMM_WORLD, &moving);
}

static int gather(const void *in, void *out, const int64_t *bytes)
{
	int64_t at = 0;
	for (int r = 0; r < ranks; r++) {
		places[r] = (int)at, counts[r] = (int)bytes[r];
		int e = move(at += bytes[r]);
		if (e != MPI_SUCCESS)
			return e;
	}
	return MPI_Iallgatherv(in, counts[self], MPI_BYTE, out, counts, places, MPI_BYTE, MPI_COMM_WORLD, &moving);
}

static int test(int32_t *done, uint8_t *arrived)
{
	int n;
	if (!meeting) {
		int e = MPI_Test(&moving, &n, MPI_STATUS_IGNORE);
		*done = n;
		return e;
	}
	int e = MPI_Testsome(2 * ranks, heads, &n, ended, MPI_STATUSES_IGNORE);
	*done = n == MPI_UNDEFINED; /* none is left */
	for (int i = 0; i < n; i++)
		if (ended[i] < ranks)
			arrived[ended[i]] = 1;
	return e;
}

static int tell(const void *text, int32_t bytes)
{
	if (bytes > (int)sizeof told)
		bytes = sizeof told;
	memcpy(told, text, (size_t)bytes);
	MPI_Request send[ranks];
	for (int r = 0; r < ranks; r++) {
		send[r] = MPI_REQUEST_NULL;
		int e = r == self ? MPI_SUCCESS : MPI_Isend(told, bytes, MPI_BYTE, r, TAG_TOLD, MPI_COMM_WORLD, &send[r]);
		if (e != MPI_SUCCESS)
			return e;
	}
	for (int i = 0, all = 0; i < 1000 && !all; i++) { /* short texts are under way at once; who is dead takes none */
		int e = MPI_Testall(ranks, send, &all, MPI_STATUSES_IGNORE);
		if (e != MPI_SUCCESS)
			return e;
		sched_yield();
	}
	return MPI_SUCCESS;
}

static int heard(int32_t *from, void *text, int32_t bytes)
{
	int there = 0;
	MPI_Status s;
	*from = -1;
	int e = MPI_Iprobe(MPI_ANY_SOURCE, TAG_TOLD, MPI_COMM_WORLD, &there, &s);
	if (e != MPI_SUCCESS || !there)
		return e;
	*from = s.MPI_SOURCE;
	return MPI_Recv(text, bytes, MPI_BYTE, s.MPI_SOURCE, TAG_TOLD, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static int finalize(void) { return MPI_Finalize(); }

static const char *error(int code)
{
	static char text[MPI_MAX_ERROR_STRING];
	int n;
	return MPI_Error_string(code, text, &n) == MPI_SUCCESS ? text : "unknown MPI error";
}

static const struct dataflex_mpi body = {
	DATAFLEX_MPI_ENGINE, name, init, meet, alltoall, allgather, reduce_scatter, broadcast, gather, test, tell, heard, finalize, error,
};
