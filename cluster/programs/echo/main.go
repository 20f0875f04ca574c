// The mesh suite's test image in one program: as `server` it says what it was asked, as `client` it asks and prints
// the answer, both in the words that the suite's utils/echo/parse.go looks for.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	run := serve
	if filepath.Base(os.Args[0]) == "client" {
		run = ask
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// listed is a line for each value of each header; those of one name stay in their order.
func listed(what string, headers map[string][]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		for _, value := range headers[name] {
			lines = append(lines, what+"="+name+":"+value)
		}
	}
	return lines
}
