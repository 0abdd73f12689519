// Says what time it is, waits 400 ms, and says that it has.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println(time.Now().UnixNano())
	time.Sleep(400 * time.Millisecond)
	fmt.Println("done")
}
