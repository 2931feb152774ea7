// What rocksdb.go needs of RocksDB, with one crossing from Go per operation.
// Messages are returned as C strings that the caller frees; NULL means success.
#include <stddef.h>

typedef struct bench_db bench_db;

// bench_iter holds where the current entry lies after each move.
typedef struct {
  void* it;
  const char* key;
  size_t key_bytes;
  const char* value;
  size_t value_bytes;
} bench_iter;

const char* bench_version(void);
bench_db* bench_open(const char* dir, size_t memtable, size_t cache, double filter_bits, int sync, int zstd, char** message);
void bench_close(bench_db* d);

// bench_got tells the length of the value, of which at most room bytes were copied; -1: not found.
typedef struct {
  long value_bytes;
  char* message;
} bench_got;
bench_got bench_get(bench_db* d, const char* key, size_t key_bytes, char* to, size_t room);

char* bench_put(bench_db* d, const char* key, size_t key_bytes, const char* value, size_t value_bytes);
char* bench_write(bench_db* d, const char* rep, size_t rep_bytes);
char* bench_flush(bench_db* d);
char* bench_checkpoint(bench_db* d, const char* dir);

bench_iter* bench_iterate(bench_db* d);
int bench_first(bench_iter* i, int reverse);
int bench_next(bench_iter* i, int reverse);
int bench_seek(bench_iter* i, const char* key, size_t key_bytes);
char* bench_iter_close(bench_iter* i);
