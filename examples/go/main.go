package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Prints who a user is, as the API says: go run . graph https://graph.microsoft.com/v1.0/me < token
func main() {
	address := os.Getenv("OBO_GATEWAY_URL")
	if address == "" {
		address = "http://127.0.0.1:5178"
	}
	token, err := io.ReadAll(os.Stdin)
	exitOn(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	authorization, err := NewGateway(address).Authorization(ctx, os.Args[1], strings.TrimSpace(string(token)), "")
	var refused *Refused
	if errors.As(err, &refused) {
		print(map[string]any{
			"status":    refused.Status,
			"code":      refused.Problem.Code,
			"challenge": refused.Challenge,
			"claims":    refused.Problem.Claims,
		})
		os.Exit(1)
	}
	exitOn(err)

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Args[2], nil)
	exitOn(err)
	request.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(request)
	exitOn(err)
	defer answer.Body.Close()
	var content any
	exitOn(json.NewDecoder(answer.Body).Decode(&content))
	print(map[string]any{"status": answer.StatusCode, "content": content})
}

func print(value any) {
	text, err := json.Marshal(value)
	exitOn(err)
	fmt.Println(string(text))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
