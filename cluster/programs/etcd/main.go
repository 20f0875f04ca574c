// etcd, as its own main.go has it; here so that the program is called etcd, not server.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
