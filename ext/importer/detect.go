package importer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Detect tells the kind of a database by what its files say.
func Detect(path string) (kind string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case info.Mode().IsRegular():
		return detectFile(path)
	case !info.IsDir():
		return "", fmt.Errorf("%s is neither a file nor a directory", path)
	}
	return detectDirectory(path)
}

// unknown is the error for what no known store has written.
func unknown(path string) error {
	return fmt.Errorf("%s is of no known kind: name it with --from (%s)", path, strings.Join(Kinds(), ", "))
}

// bboltMagic stands in both meta pages of bbolt, behind the header of the page.
const bboltMagic = 0xED0CDAED

func detectFile(path string) (kind string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var page [20]byte
	for _, at := range []int64{0, 4096, 16384, 65536, 8192, 512, 1024, 2048, 32768} { // the second page, whatever the page size
		if _, err := f.ReadAt(page[:], at); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if binary.NativeEndian.Uint32(page[16:]) == bboltMagic {
			return Bbolt, nil
		}
	}
	return "", unknown(path)
}

func detectDirectory(dir string) (kind string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	first := func(prefix string) []byte {
		for _, name := range slices.Backward(names) { // the newest
			if strings.HasPrefix(name, prefix) {
				return beginning(filepath.Join(dir, name))
			}
		}
		return nil
	}
	options := first("OPTIONS")
	has := func(name string) bool { return slices.Contains(names, name) }
	switch {
	case has("MANIFEST") && bytes.HasPrefix(beginning(filepath.Join(dir, "MANIFEST")), []byte("Bdgr")):
		return Badger, nil
	case bytes.Contains(options, []byte("pebble_version")):
		return Pebble, nil
	case bytes.Contains(options, []byte("rocksdb_version")), has("IDENTITY"):
		return RocksDB, nil
	case has("CURRENT") && first("MANIFEST-") != nil && !isOurs(first("MANIFEST-")):
		return LevelDB, nil
	}
	return "", unknown(dir)
}

// isOurs reports whether a manifest is one of lsmdb, which uses the same names.
func isOurs(manifest []byte) bool { return !bytes.Contains(manifest, []byte("Comparator")) }

// beginning returns the first kibibytes of a file, or nothing.
func beginning(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8<<10))
	if err != nil {
		return nil
	}
	return data
}
