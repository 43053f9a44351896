from tests.planted import papers, planted, planted_scores

__all__ = ["papers", "planted", "planted_scores"]
