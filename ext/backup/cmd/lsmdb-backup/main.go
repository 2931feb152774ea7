// Command lsmdb-backup keeps an lsmdb database in a bucket, and makes a database of what lies
// there: see its --help. It knows directories, and Amazon S3 and what speaks its protocol. For
// another kind of bucket, a program like this one imports another driver.
package main

import (
	_ "gocloud.dev/blob/s3blob"

	"lsmdb/ext/backup/command"
)

func main() { command.Main() }
