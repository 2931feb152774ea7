package backup_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"lsmdb/db"
	"lsmdb/ext/backup"
)

// A database is backed up while it is used, and restored as it was before a mistake.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	bucket := memblob.OpenBucket(nil) // or blob.OpenBucket(ctx, "s3://...")
	defer bucket.Close()
	d, err := db.Open("", &db.Options{InMemory: true, KeepChangesBytes: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	ended := make(chan error)
	go func() { ended <- backup.Run(ctx, d, bucket, &backup.Options{LogInterval: time.Millisecond}) }()
	shipped(ctx, bucket, 0)

	_ = d.Put([]byte("order/1"), []byte("tea"))
	good := d.Metrics().Sequence
	_ = d.DeleteRange([]byte("order/"), []byte("order0")) // the mistake
	shipped(ctx, bucket, d.Metrics().Sequence)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "restored-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	report, err := backup.Restore(context.Background(), bucket, filepath.Join(dir, "new"), backup.Seq(good))
	if err != nil {
		log.Fatal(err)
	}
	restored, err := db.Open(filepath.Join(dir, "new"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	value, err := restored.Get([]byte("order/1"))
	fmt.Println(report.Seq, string(value), err)
	// Output: 1 tea <nil>
}

// shipped waits until a state is in the bucket.
func shipped(ctx context.Context, bucket *blob.Bucket, seq uint64) {
	for ; ; time.Sleep(time.Millisecond) {
		list, err := backup.List(ctx, bucket)
		if err != nil {
			log.Fatal(err)
		}
		if len(list) > 0 && list[len(list)-1].LogSeq >= seq {
			return
		}
	}
}

func ExampleOnce() {
	ctx, bucket := context.Background(), memblob.OpenBucket(nil)
	defer bucket.Close()
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	_ = d.Put([]byte("key"), []byte("value"))
	for range 2 {
		report, err := backup.Once(ctx, d, bucket, nil)
		fmt.Println(report.Point, report.Tables, report.Uploaded, err)
	}
	// Output:
	// points/00000000000000000001.json 1 1 <nil>
	// points/00000000000000000001.json 1 0 <nil>
}

func ExamplePrune() {
	ctx, bucket := context.Background(), memblob.OpenBucket(nil)
	defer bucket.Close()
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	for i := range 5 {
		_ = d.Put([]byte("key"), []byte{byte(i)})
		if _, err := backup.Once(ctx, d, bucket, nil); err != nil {
			log.Fatal(err)
		}
	}
	report, err := backup.Prune(ctx, bucket, backup.Keep{Points: 2})
	if err != nil {
		log.Fatal(err)
	}
	verified, err := backup.Verify(ctx, bucket)
	fmt.Println(report.Points, verified.Points, err)
	// Output: 2 2 <nil>
}
