// SPDX-License-Identifier: Apache-2.0

// Prints what the library of Flux and Helm 4 makes of objects: kstatus FILE.json...
package main

import (
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func compute(path string) (*status.Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	object := unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return status.Compute(&object)
}

func main() {
	for _, path := range os.Args[1:] {
		result, err := compute(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, "kstatus:", err)
			os.Exit(1)
		}
		fmt.Printf("%s\t%s\t%s\n", path, result.Status, result.Message)
	}
}
