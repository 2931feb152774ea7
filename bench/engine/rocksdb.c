//go:build rocksdb

#include "rocksdb.h"

#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

struct bench_db {
  rocksdb_t* db;
  rocksdb_options_t* options;
  rocksdb_block_based_table_options_t* table;
  rocksdb_cache_t* cache;
  rocksdb_writeoptions_t* write;
  rocksdb_readoptions_t* read;
};

bench_db* bench_open(const char* dir, size_t memtable, size_t cache, double filter_bits, int sync, int zstd, char** message) {
  bench_db* d = calloc(1, sizeof *d);
  d->options = rocksdb_options_create();
  d->table = rocksdb_block_based_options_create();
  d->cache = rocksdb_cache_create_lru(cache);
  rocksdb_block_based_options_set_block_cache(d->table, d->cache);
  rocksdb_block_based_options_set_block_size(d->table, 4 << 10);
  rocksdb_block_based_options_set_format_version(d->table, 5);
  // The policy passes into the table options, which free it.
  rocksdb_block_based_options_set_filter_policy(d->table, rocksdb_filterpolicy_create_bloom_full(filter_bits));
  rocksdb_options_set_block_based_table_factory(d->options, d->table);
  rocksdb_options_set_create_if_missing(d->options, 1);
  rocksdb_options_set_compression(d->options, zstd ? rocksdb_zstd_compression : rocksdb_snappy_compression);
  rocksdb_options_set_write_buffer_size(d->options, memtable);
  rocksdb_options_set_max_write_buffer_number(d->options, 4);
  rocksdb_options_set_max_background_jobs(d->options, 2);
  rocksdb_options_set_level_compaction_dynamic_level_bytes(d->options, 1);
  rocksdb_options_set_bytes_per_sync(d->options, 1 << 20);
  rocksdb_options_set_max_open_files(d->options, -1);
  d->write = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(d->write, (unsigned char)sync);
  d->read = rocksdb_readoptions_create();
  *message = NULL;
  d->db = rocksdb_open(d->options, dir, message);
  if (*message != NULL) {
    bench_close(d);
    return NULL;
  }
  return d;
}

void bench_close(bench_db* d) {
  if (d->db != NULL) rocksdb_close(d->db);
  rocksdb_readoptions_destroy(d->read);
  rocksdb_writeoptions_destroy(d->write);
  rocksdb_options_destroy(d->options);
  rocksdb_block_based_options_destroy(d->table);
  rocksdb_cache_destroy(d->cache);
  free(d);
}

bench_got bench_get(bench_db* d, const char* key, size_t key_bytes, char* to, size_t room) {
  bench_got got = {-1, NULL};
  rocksdb_pinnableslice_t* slice = rocksdb_get_pinned(d->db, d->read, key, key_bytes, &got.message);
  if (slice == NULL) return got;
  size_t n = 0;
  const char* value = rocksdb_pinnableslice_value(slice, &n);
  memcpy(to, value, n < room ? n : room);
  rocksdb_pinnableslice_destroy(slice);
  got.value_bytes = (long)n;
  return got;
}

char* bench_put(bench_db* d, const char* key, size_t key_bytes, const char* value, size_t value_bytes) {
  char* message = NULL;
  rocksdb_put(d->db, d->write, key, key_bytes, value, value_bytes, &message);
  return message;
}

char* bench_write(bench_db* d, const char* rep, size_t rep_bytes) {
  char* message = NULL;
  rocksdb_writebatch_t* batch = rocksdb_writebatch_create_from(rep, rep_bytes);
  rocksdb_write(d->db, d->write, batch, &message);
  rocksdb_writebatch_destroy(batch);
  return message;
}

char* bench_flush(bench_db* d) {
  char* message = NULL;
  rocksdb_flushoptions_t* wait = rocksdb_flushoptions_create();
  rocksdb_flushoptions_set_wait(wait, 1);
  rocksdb_flush(d->db, wait, &message);
  rocksdb_flushoptions_destroy(wait);
  return message;
}

char* bench_checkpoint(bench_db* d, const char* dir) {
  char* message = NULL;
  rocksdb_checkpoint_t* c = rocksdb_checkpoint_object_create(d->db, &message);
  if (c == NULL) return message;
  rocksdb_checkpoint_create(c, dir, 0, &message);
  rocksdb_checkpoint_object_destroy(c);
  return message;
}

bench_iter* bench_iterate(bench_db* d) {
  bench_iter* i = calloc(1, sizeof *i);
  i->it = rocksdb_create_iterator(d->db, d->read);
  return i;
}

static int load(bench_iter* i) {
  if (!rocksdb_iter_valid(i->it)) return 0;
  i->key = rocksdb_iter_key(i->it, &i->key_bytes);
  i->value = rocksdb_iter_value(i->it, &i->value_bytes);
  return 1;
}

int bench_first(bench_iter* i, int reverse) {
  if (reverse) rocksdb_iter_seek_to_last(i->it);
  else rocksdb_iter_seek_to_first(i->it);
  return load(i);
}

int bench_next(bench_iter* i, int reverse) {
  if (reverse) rocksdb_iter_prev(i->it);
  else rocksdb_iter_next(i->it);
  return load(i);
}

int bench_seek(bench_iter* i, const char* key, size_t key_bytes) {
  rocksdb_iter_seek(i->it, key, key_bytes);
  return load(i);
}

char* bench_iter_close(bench_iter* i) {
  char* message = NULL;
  rocksdb_iter_get_error(i->it, &message);
  rocksdb_iter_destroy(i->it);
  free(i);
  return message;
}
