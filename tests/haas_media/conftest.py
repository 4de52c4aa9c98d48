from tests.databases import catalog, database_url, databases, new_postgres, postgres, sqlite

__all__ = ["catalog", "database_url", "databases", "new_postgres", "postgres", "sqlite"]
