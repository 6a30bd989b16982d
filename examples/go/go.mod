module example.com/obo

go 1.19
