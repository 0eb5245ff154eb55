"""What the GraphQL rooms of all apps are made of."""
