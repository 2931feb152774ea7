//go:build rocksdb

// RocksDB says its version only in C++.
#include <rocksdb/version.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

extern "C" const char* bench_version(void) {
  return TEXT(ROCKSDB_MAJOR) "." TEXT(ROCKSDB_MINOR) "." TEXT(ROCKSDB_PATCH);
}
